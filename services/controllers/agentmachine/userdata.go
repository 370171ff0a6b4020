package agentmachine

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// source is where bootstrap data points to: the token and the other headers of its first merged configuration.
type source struct {
	token   []byte
	headers map[string]string
}

// parseUserData reads the Ignition that is a Machine's bootstrap data. Its errors have no part of the data in them.
func parseUserData(value []byte) (source, error) {
	var config struct {
		Ignition struct {
			Config struct {
				Merge []struct {
					HTTPHeaders []struct{ Name, Value string } `json:"httpHeaders"`
				} `json:"merge"`
			} `json:"config"`
		} `json:"ignition"`
	}
	if err := json.Unmarshal(value, &config); err != nil {
		return source{}, errors.New("the bootstrap data is no Ignition configuration")
	}
	if len(config.Ignition.Config.Merge) == 0 {
		return source{}, errors.New("the bootstrap data merges no configuration")
	}
	out := source{headers: map[string]string{}}
	for _, header := range config.Ignition.Config.Merge[0].HTTPHeaders {
		if !strings.EqualFold(header.Name, "Authorization") {
			out.headers[header.Name] = header.Value
			continue
		}
		scheme, encoded, _ := strings.Cut(header.Value, " ")
		token, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil || !strings.EqualFold(scheme, "Bearer") {
			return source{}, fmt.Errorf("the Authorization header of the bootstrap data is not a base64 bearer token")
		}
		out.token = token
	}
	if len(out.token) == 0 {
		return source{}, errors.New("the bootstrap data has no bearer token")
	}
	return out, nil
}
