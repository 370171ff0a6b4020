package controlplane

import (
	"fmt"
	"regexp"
	"strconv"
)

// Places is where a driver put what placeholders stand for.
type Places struct {
	Image  string
	Data   string
	Mounts map[string]string
	Ports  map[string]int
}

// Expand replaces the placeholders in s; one that stands for nothing is an error.
func (p Places) Expand(s string) (string, error) {
	var err error
	out := regexp.MustCompile(`\$\(([A-Z]+)(?::([a-z0-9-]+))?\)`).ReplaceAllStringFunc(s, func(match string) string {
		value, ok := p.lookup(match[2 : len(match)-1])
		if !ok && err == nil {
			err = fmt.Errorf("expand %q: nothing is known of %s", s, match)
		}
		return value
	})
	return out, err
}

// ExpandAll is Expand for a list.
func (p Places) ExpandAll(list []string) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, s := range list {
		expanded, err := p.Expand(s)
		if err != nil {
			return nil, err
		}
		out = append(out, expanded)
	}
	return out, nil
}

func (p Places) lookup(key string) (string, bool) {
	switch {
	case key == "IMAGE":
		return p.Image, p.Image != ""
	case key == "DATA":
		return p.Data, p.Data != ""
	case len(key) > 6 && key[:6] == "MOUNT:":
		dir, ok := p.Mounts[key[6:]]
		return dir, ok
	case len(key) > 5 && key[:5] == "PORT:":
		port, ok := p.Ports[key[5:]]
		return strconv.Itoa(port), ok
	}
	return "", false
}
