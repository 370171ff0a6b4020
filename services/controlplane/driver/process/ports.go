package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/slipway-io/slipway/services/atomicfile"
	"github.com/slipway-io/slipway/services/controlplane"
)

// Loopback ports of control planes; below the kernel's ephemeral range.
const (
	firstPort = 20000
	lastPort  = 29999
	portsFile = "ports.json"
)

var errNoPort = errors.New("no loopback port is free")

// allocate returns the number of every port of the control plane. Numbers once chosen stay.
func (d *Driver) allocate(cp controlplane.ControlPlane) (map[string]int, error) {
	d.ports.Lock()
	defer d.ports.Unlock()
	path := filepath.Join(d.dir(cp.Name), portsFile)
	mine, err := readPorts(path)
	if err != nil {
		return nil, err
	}
	ports, missing, err := sortPorts(cp, mine)
	if err != nil || len(missing) == 0 {
		return ports, err
	}
	taken, err := d.takenPorts()
	if err != nil {
		return nil, err
	}
	next := firstPort
	for _, name := range missing {
		for next <= lastPort && (taken[next] || !portFree(next)) {
			next++
		}
		if next > lastPort {
			return nil, errNoPort
		}
		mine[name], ports[name] = next, next
		next++
	}
	data, err := json.Marshal(mine)
	if err != nil {
		return nil, fmt.Errorf("encode ports: %w", err)
	}
	return ports, atomicfile.Write(path, data)
}

// sortPorts returns the ports that are known, and the names of those that are still to be chosen.
func sortPorts(cp controlplane.ControlPlane, mine map[string]int) (ports map[string]int, missing []string, err error) {
	ports = map[string]int{}
	for _, c := range cp.Components {
		for _, p := range c.Ports {
			if _, twice := ports[p.Name]; twice {
				return nil, nil, fmt.Errorf("port %s: two components have one of that name", p.Name)
			}
			ports[p.Name] = p.Number
			if p.Number != 0 {
				continue
			}
			if number, ok := mine[p.Name]; ok {
				ports[p.Name] = number
			} else {
				missing = append(missing, p.Name)
			}
		}
	}
	return ports, missing, nil
}

// takenPorts are those of all control planes here, running or not.
func (d *Driver) takenPorts() (map[int]bool, error) {
	files, err := filepath.Glob(filepath.Join(d.root, "*", portsFile))
	if err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	taken := map[int]bool{}
	for _, file := range files {
		ports, err := readPorts(file)
		if err != nil {
			return nil, err
		}
		for _, number := range ports {
			taken[number] = true
		}
	}
	return taken, nil
}

// Port is the number of a loopback port that was chosen for a control plane; an error before it was applied.
func (d *Driver) Port(controlPlane, port string) (int, error) {
	ports, err := readPorts(filepath.Join(d.dir(controlPlane), portsFile))
	if err != nil {
		return 0, err
	}
	number, ok := ports[port]
	if !ok {
		return 0, fmt.Errorf("find port %s of control plane %s: none was chosen", port, controlPlane)
	}
	return number, nil
}

func readPorts(path string) (map[string]int, error) {
	ports := map[string]int{}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ports, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ports: %w", err)
	}
	if err := json.Unmarshal(data, &ports); err != nil {
		return nil, fmt.Errorf("read ports %s: %w", path, err)
	}
	return ports, nil
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
