//go:build !linux

package quickstart

import "syscall"

func detached() *syscall.SysProcAttr { return nil }
