package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const edgehubConfig = `device: {id: bench}
state_dir: %s
rules_dir: rules.d
api:
  socket: %s
listeners:
  - name: mqtt
    address: %s
    allow_anonymous: true
auth:
  acl:
    - group: anonymous
      allow: [publish, subscribe]
      topics: ["plant/#"]
log:
  level: warn
`

const edgehubRules = `rules:
  - name: hot
    topic: plant/+/temp
    where: body.machine.temperature > 25
    into: $upstream
`

// startEdgehub gives edgehub one rule with a condition on the body and no
// parent, so that every message stays in its queue on disk.
func startEdgehub(bin, dir, addr string) *exec.Cmd {
	config := fmt.Sprintf(edgehubConfig, filepath.Join(dir, "state"), filepath.Join(dir, "s"), addr)
	if os.Mkdir(filepath.Join(dir, "rules.d"), 0o700) != nil ||
		os.WriteFile(filepath.Join(dir, "rules.d", "bench.yaml"), []byte(edgehubRules), 0o600) != nil ||
		os.WriteFile(filepath.Join(dir, "edgehub.yaml"), []byte(config), 0o600) != nil {
		return nil
	}
	return exec.Command(bin, "-config", filepath.Join(dir, "edgehub.yaml"))
}
