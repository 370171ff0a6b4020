package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// overwriteFile lets a cached Ignition configuration be applied a second time over what a first, interrupted
// attempt has written.
func overwriteFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data, err = overwrite(data)
	if err != nil {
		return fmt.Errorf("read the configuration in %s: %w", path, err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// overwrite sets overwrite on files and links that leave it open. Directories are left alone: for them it would
// mean removing what is inside. A file that only appends has no such choice either.
func overwrite(config []byte) ([]byte, error) {
	var tree map[string]any
	if err := json.Unmarshal(config, &tree); err != nil {
		return nil, err
	}
	storage, _ := tree["storage"].(map[string]any)
	for _, kind := range []string{"files", "links"} {
		entries, _ := storage[kind].([]any)
		for _, entry := range entries {
			node, ok := entry.(map[string]any)
			if !ok || node["overwrite"] != nil {
				continue
			}
			if kind == "files" && !replaces(node) {
				continue
			}
			node["overwrite"] = true
		}
	}
	return json.Marshal(tree)
}

// replaces tells whether a file entry brings its own content: without a source, overwrite is not allowed.
func replaces(file map[string]any) bool {
	contents, _ := file["contents"].(map[string]any)
	return contents["source"] != nil
}
