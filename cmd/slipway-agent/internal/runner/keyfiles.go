package runner

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
)

// keyfiles are the connections that NetworkManager has here: the installed system starts with the same network.
func keyfiles(root machine.Root) (map[string][]byte, error) {
	const dir, most, mostBytes = "etc/NetworkManager/system-connections", 256, 64 << 10
	files := map[string][]byte{}
	for _, name := range root.Names(dir) {
		if !strings.HasSuffix(name, ".nmconnection") || strings.HasPrefix(name, ".") {
			continue
		}
		content, err := readBounded(root.Path(dir, name), mostBytes)
		if err != nil {
			return nil, fmt.Errorf("read keyfile: %w", err)
		}
		if len(files) == most {
			return nil, fmt.Errorf("read keyfiles: there are more than %d in %s", most, root.Path(dir))
		}
		files[name] = content
	}
	return files, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(path), most)
	}
	return content, err
}
