package uplink

import "errors"

var router = struct{ ErrUnavailable, ErrPermanent, ErrRejected error }{errors.New("consumer unavailable"), errors.New("permanent failure"), errors.New("message rejected")}
