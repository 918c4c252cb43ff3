package quickstart

import "syscall"

// detached keeps the terminal's Ctrl-C from the hubs, which are stopped in order,
// and ends them should the quickstart be killed.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
