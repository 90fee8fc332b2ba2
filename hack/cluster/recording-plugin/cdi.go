package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// spec is the part of a CDI spec that the plugin writes.
type spec struct {
	Version string      `json:"cdiVersion"`
	Kind    string      `json:"kind"`
	Devices []cdiDevice `json:"devices"`
}

type cdiDevice struct {
	Name  string `json:"name"`
	Edits edits  `json:"containerEdits"`
}

type edits struct {
	Env   []string `json:"env"`
	Nodes []node   `json:"deviceNodes,omitempty"`
}

// notInNames is what the name of an environment variable does not hold.
var notInNames = regexp.MustCompile("[^A-Za-z0-9]")

// writeSpec writes the CDI spec of a claim: each device sets GOT_<its name> to its id, so that a container can
// tell which devices it was given. All ids of one claim are of one kind.
func (p *plugin) writeSpec(uid string, devices []device) error {
	if p.settings.CDI == "" {
		return nil
	}
	written := spec{Version: "0.6.0"}
	for _, d := range devices {
		for _, id := range d.CDI {
			kind, name, ok := strings.Cut(id, "=")
			if !ok || (written.Kind != "" && written.Kind != kind) {
				return fmt.Errorf("the script gives the claim the CDI id %q: say VENDOR/CLASS=NAME, one kind for all", id)
			}
			written.Kind = kind
			variable := "GOT_" + notInNames.ReplaceAllString(name, "_") + "=" + id
			written.Devices = append(written.Devices, cdiDevice{Name: name, Edits: edits{Env: []string{variable}, Nodes: d.Nodes}})
		}
	}
	if len(written.Devices) == 0 {
		return nil
	}
	text, err := json.Marshal(written)
	if err != nil {
		return fmt.Errorf("write the CDI spec of claim %s: %w", uid, err)
	}
	if err := os.MkdirAll(p.settings.CDI, 0o755); err != nil {
		return fmt.Errorf("make the folder for CDI specs: %w", err)
	}
	path := filepath.Join(p.settings.CDI, p.settings.Driver+"-"+uid+".json")
	if err := os.WriteFile(path+".tmp", text, 0o644); err != nil {
		return fmt.Errorf("write the CDI spec of claim %s: %w", uid, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("put the CDI spec of claim %s in its place: %w", uid, err)
	}
	return nil
}

// removeSpec removes the CDI spec of a claim, if there is one.
func (p *plugin) removeSpec(uid string) error {
	if p.settings.CDI == "" {
		return nil
	}
	err := os.Remove(filepath.Join(p.settings.CDI, p.settings.Driver+"-"+uid+".json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the CDI spec of claim %s: %w", uid, err)
	}
	return nil
}
