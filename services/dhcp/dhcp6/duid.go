package dhcp6

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/slipway-io/slipway/services/atomicfile"
)

// openDUID reads the server's identifier or makes one: a random UUID (RFC 6355), so that it outlives network cards.
func openDUID(dir string) (dhcpv6.DUID, error) {
	path := filepath.Join(dir, "server.duid")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeDUID(dir, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read server DUID: %w", err)
	}
	id, err := uuid.ParseBytes(text)
	if err != nil {
		return nil, fmt.Errorf("read server DUID: %s: %w: remove it and hosts take a new lease when they boot next", path, err)
	}
	return &dhcpv6.DUIDUUID{UUID: id}, nil
}

func makeDUID(dir, path string) (dhcpv6.DUID, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make lease directory: %w", err)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("make server DUID: %w", err)
	}
	if err := atomicfile.Write(path, []byte(id.String())); err != nil {
		return nil, fmt.Errorf("write server DUID: %w", err)
	}
	return &dhcpv6.DUIDUUID{UUID: id}, nil
}
