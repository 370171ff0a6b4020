package image

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// errQuery is a mistake in what was asked for.
var errQuery = errors.New("bad request")

// parseArchitecture takes the spellings that loaders, Go and OpenShift use; empty is x86_64.
func parseArchitecture(value string) (string, error) {
	switch value {
	case "", "x86_64", "amd64", "i386", "x86":
		// A loader in 32 bit says nothing about the processor: machines without 64 bit are none of ours.
		return "x86_64", nil
	case "arm64", "aarch64":
		return "aarch64", nil
	case "ppc64le", "s390x":
		return value, nil
	}
	return "", fmt.Errorf("%w: arch %q is not known", errQuery, value)
}

// parseVersion lets an empty version pass: it means the default one.
func parseVersion(value string) (string, error) {
	if value != "" && !versionPattern.MatchString(value) {
		return "", fmt.Errorf("%w: version %q is not one", errQuery, value)
	}
	return value, nil
}

func parseID(value string) (string, error) {
	id, err := uuid.Parse(value)
	if err != nil || len(value) != 36 {
		return "", fmt.Errorf("%w: InfraEnv id %q is not a UUID", errQuery, value)
	}
	return id.String(), nil
}

// machine is who asks for a boot script.
type machine struct {
	mac          net.HardwareAddr
	uuid         string
	architecture string
}

func parseMachine(query url.Values) (machine, error) {
	var m machine
	var err error
	if value := query.Get("mac"); value != "" {
		if m.mac, err = net.ParseMAC(value); err != nil || len(m.mac) != 6 {
			return machine{}, fmt.Errorf("%w: mac %q is not an Ethernet address", errQuery, value)
		}
	}
	if value := query.Get("uuid"); value != "" {
		id, err := uuid.Parse(value)
		if err != nil {
			return machine{}, fmt.Errorf("%w: uuid %q is not a UUID", errQuery, value)
		}
		m.uuid = id.String()
	}
	m.architecture, err = parseArchitecture(query.Get("arch"))
	return m, err
}

// token is what the asker shows for an InfraEnv.
func token(r *http.Request) string {
	query := r.URL.Query()
	for _, value := range []string{query.Get("api_key"), r.Header.Get("X-Secret-Key"), query.Get("image_token"), r.Header.Get("Image-Token")} {
		if value != "" {
			return value
		}
	}
	return ""
}

// rangePattern is a byte range set that means something; some loaders send "bytes=u-u".
var rangePattern = regexp.MustCompile(`^bytes=\s*(\d+-\d*|-\d+)(\s*,\s*(\d+-\d*|-\d+))*\s*$`)

// dropBadRange lets a malformed Range be no Range, as RFC 9110 allows: the whole file boots a machine, a 416 does not.
func dropBadRange(r *http.Request) {
	if value := r.Header.Get("Range"); value != "" && !rangePattern.MatchString(strings.ToLower(value)) {
		r.Header.Del("Range")
	}
}
