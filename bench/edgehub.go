package main

import "os/exec"

func startEdgehub(bin, dir, addr string) *exec.Cmd { return nil }
