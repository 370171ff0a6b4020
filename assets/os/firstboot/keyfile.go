package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// keyfile is a connection as NetworkManager keeps it: values by section and key.
type keyfile map[string]map[string]string

// sectionNames that older files have, by those of now.
var sectionNames = strings.NewReplacer("802-3-ethernet", "ethernet")

func parseKeyfile(text string) keyfile {
	file := keyfile{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && line[len(line)-1] == ']':
			section = sectionNames.Replace(line[1 : len(line)-1])
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				continue
			}
			if file[section] == nil {
				file[section] = map[string]string{}
			}
			file[section][strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return file
}

// get gives the first of some keys that has a value.
func (k keyfile) get(section string, keys ...string) string {
	for _, key := range keys {
		if value := k[section][key]; value != "" {
			return value
		}
	}
	return ""
}

// numbered are the values of key0, key1, … up to a bound that no host comes near.
func (k keyfile) numbered(section, key string) []string {
	const most = 100
	var values []string
	for i := range most {
		if value := k[section][fmt.Sprint(key, i)]; value != "" {
			values = append(values, value)
		}
	}
	return values
}

func (k keyfile) kind() string { return sectionNames.Replace(k.get("connection", "type")) }

// readKeyfiles reads a directory like NetworkManager's system-connections.
func readKeyfiles(dir string) ([]keyfile, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.nmconnection"))
	if err != nil {
		return nil, err
	}
	var files []keyfile
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read keyfile: %w", err)
		}
		files = append(files, parseKeyfile(string(text)))
	}
	return files, nil
}

// portsByMAC are the machine's own ports: names by MAC address in small letters.
func portsByMAC(sys string) (map[string]string, error) {
	entries, err := os.ReadDir(filepath.Join(sys, "class/net"))
	if err != nil {
		return nil, fmt.Errorf("list network ports: %w", err)
	}
	ports := map[string]string{}
	for _, entry := range entries {
		dir := filepath.Join(sys, "class/net", entry.Name())
		if _, err := os.Stat(filepath.Join(dir, "device")); err != nil {
			continue
		}
		address, err := os.ReadFile(filepath.Join(dir, "address"))
		if err != nil {
			continue // it has just gone
		}
		ports[strings.ToLower(strings.TrimSpace(string(address)))] = entry.Name()
	}
	return ports, nil
}
