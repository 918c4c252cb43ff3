package cloudhub

import "errors"

var (
	// ErrLocked: another cloudhub uses the state folder.
	ErrLocked = errors.New("state folder is in use by another cloudhub")
	// ErrVersion: the state folder was written by another version of the format.
	ErrVersion = errors.New("state folder has an unknown format version")
)
