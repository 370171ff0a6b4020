package registry

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// TestConformance runs the suite of the distribution-spec, built from test/conformance, over HTTPS; `make conformance` says where it is.
func TestConformance(t *testing.T) {
	suite := os.Getenv("SLIPWAY_CONFORMANCE")
	if suite == "" {
		t.Skip("SLIPWAY_CONFORMANCE does not name the suite's program: run `make conformance`")
	}
	for _, address := range loopbacks {
		t.Run(address, func(t *testing.T) {
			s := newSite(t, address, pushers(t))
			cmd := exec.CommandContext(t.Context(), suite)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+s.ca, "OCI_REGISTRY="+s.host, "OCI_TLS=enabled", "OCI_VERSION=1.1",
				"OCI_REPO1=conformance/repo1", "OCI_REPO2=conformance/repo2", "OCI_USERNAME=pusher", "OCI_PASSWORD=secret",
				"OCI_DATA_SPARSE=true", "OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_MANIFESTS_TAG_PARAM=true",
				"OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true")
			report, err := cmd.CombinedOutput()
			passed := count(t, report, "Pass")
			if bad := count(t, report, "FAIL") + count(t, report, "Error") + count(t, report, "Skip") + count(t, report, "Disabled"); err != nil || bad > 0 || passed < 850 {
				t.Fatalf("%d passed, %d did not, %v\n%s", passed, bad, err, report)
			}
			t.Logf("%d of %d passed", passed, passed)
		})
	}
}

// count reads a line of the suite's summary: the status, dots and a number.
func count(t *testing.T, report []byte, status string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^  ` + status + `\.+: +(\d+)$`).FindSubmatch(report)
	if found == nil {
		t.Fatalf("the report has no count of %s:\n%s", status, report)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
