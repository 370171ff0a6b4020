package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/driver/process/shim"
)

// render prepares everything that the components need in dir and returns what the shim shall run.
func (d *Driver) render(ctx context.Context, dir string, cp controlplane.ControlPlane) (shim.Plan, error) {
	images, err := d.unpack(ctx, cp)
	if err != nil {
		return shim.Plan{}, err
	}
	ports, err := d.allocate(cp)
	if err != nil {
		return shim.Plan{}, err
	}
	plan := shim.Plan{Name: cp.Name}
	for _, c := range cp.Components {
		r := renderer{cp: cp, dir: dir, component: c, places: controlplane.Places{
			Image: images[c.Image], Ports: ports, Mounts: map[string]string{},
		}}
		rendered, err := r.render()
		if err != nil {
			return shim.Plan{}, fmt.Errorf("component %s: %w", c.Name, err)
		}
		plan.Components = append(plan.Components, rendered)
	}
	return plan, dropMounts(dir, cp)
}

// unpack returns the directory of each image that the components name.
func (d *Driver) unpack(ctx context.Context, cp controlplane.ControlPlane) (map[string]string, error) {
	dirs := map[string]string{}
	for _, c := range cp.Components {
		if dirs[c.Image] != "" {
			continue
		}
		ref := cp.Images[c.Image]
		if ref == "" {
			return nil, fmt.Errorf("component %s: the release has no image %s", c.Name, c.Image)
		}
		dir, err := d.cfg.Images.Unpack(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("unpack image %s: %w", c.Image, err)
		}
		dirs[c.Image] = dir
	}
	return dirs, nil
}

// renderer expands one component.
type renderer struct {
	cp        controlplane.ControlPlane
	dir       string
	component controlplane.Component
	places    controlplane.Places
}

func (r *renderer) render() (shim.Component, error) {
	c := r.component
	out := shim.Component{
		Name: c.Name, After: c.After, StopGrace: c.StopGrace, Dir: r.dir,
		MemoryBytes: c.MemoryMiB << 20, CPUMillis: c.CPUMillis, CPUWeight: c.CPUWeight, HeavyStart: c.HeavyStart,
	}
	if c.Data {
		r.places.Data = filepath.Join(r.dir, "data", c.Name)
		if err := os.MkdirAll(r.places.Data, 0o700); err != nil {
			return out, err
		}
		out.Dir = r.places.Data
	}
	contents, err := r.mounts()
	if err != nil {
		return out, err
	}
	if len(c.Command) == 0 {
		return out, fmt.Errorf("no command")
	}
	if out.Argv, err = r.places.ExpandAll(c.Command); err != nil {
		return out, err
	}
	if out.Env, err = r.places.ExpandAll(slices.Concat([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + r.dir}, c.Env)); err != nil {
		return out, err
	}
	if out.Ready, err = r.probe(c.Ready); err != nil {
		return out, err
	}
	if out.Live, err = r.probe(c.Live); err != nil {
		return out, err
	}
	out.Hash, err = hash(out, contents)
	return out, err
}

// mounts writes the component's mounts and returns digests of those contents that need a restart.
func (r *renderer) mounts() ([]string, error) {
	var contents []string
	for _, m := range r.component.Mounts {
		data, err := content(r.cp, m)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(r.dir, "mounts", r.component.Name, m.Name)
		digest, err := writeMount(dir, data)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Name, err)
		}
		r.places.Mounts[m.Name] = dir
		if !m.Reloads {
			contents = append(contents, m.Name+"="+digest)
		}
	}
	return contents, nil
}

func (r *renderer) probe(p *controlplane.Probe) (*shim.Probe, error) {
	if p == nil {
		return nil, nil
	}
	port, ok := r.places.Ports[p.Port]
	if !ok {
		return nil, fmt.Errorf("probe: no port %s", p.Port)
	}
	files, err := r.places.ExpandAll([]string{p.CA, p.Cert, p.Key})
	if err != nil {
		return nil, err
	}
	return &shim.Probe{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: p.Path, ServerName: p.ServerName,
		CA: files[0], Cert: files[1], Key: files[2],
	}, nil
}

// hash stands for what a running process cannot take over.
func hash(c shim.Component, contents []string) (string, error) {
	data, err := json.Marshal([]any{c.Argv, c.Env, c.Dir, contents})
	if err != nil {
		return "", fmt.Errorf("encode component: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// content is the files of a mount.
func content(cp controlplane.ControlPlane, m controlplane.Mount) (map[string][]byte, error) {
	all := map[string][]byte{}
	switch {
	case m.Secret != "":
		secret := cp.Secrets[m.Secret]
		if secret == nil {
			return nil, fmt.Errorf("mount %s: no secret %s", m.Name, m.Secret)
		}
		all = secret.Data
	case m.ConfigMap != "":
		configMap := cp.ConfigMaps[m.ConfigMap]
		if configMap == nil {
			return nil, fmt.Errorf("mount %s: no config map %s", m.Name, m.ConfigMap)
		}
		for key, value := range configMap.Data {
			all[key] = []byte(value)
		}
	}
	if len(m.Keys) == 0 {
		return all, nil
	}
	picked := map[string][]byte{}
	for _, key := range m.Keys {
		value, ok := all[key]
		if !ok {
			return nil, fmt.Errorf("mount %s: no key %s in %s%s", m.Name, key, m.Secret, m.ConfigMap)
		}
		picked[key] = value
	}
	return picked, nil
}
