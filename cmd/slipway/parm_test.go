package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/ipxe"
	"github.com/slipway-io/slipway/services/image"
)

func TestParmFiles(t *testing.T) {
	const uid = "5ab6ea6e-6b1e-4c0a-9d0e-3c8d2b6a9f10"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content := map[string]string{
			"/boot/at/127.0.0.1/z/" + uid + "/zworker0.prm": "rd.neednet=1\n", "/boot-artifacts/kernel": "kernel",
			"/images/" + uid + "/pxe-initrd": "initrd", "/images/" + uid + "/s390x-initrd-addrsize": "0123456789abcdef",
		}[r.URL.Path]
		if strings.HasPrefix(r.URL.Path, "/images/") && r.URL.Query().Get("api_key") != "secret" || content == "" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	defer server.Close()
	files, err := newParmFiles("zworker0", uid, agentv1beta1.BootArtifacts{
		KernelURL: server.URL + "/boot-artifacts/kernel?arch=s390x", InitrdURL: server.URL + "/images/" + uid + "/pxe-initrd?api_key=secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for kind, want := range map[ipxe.Kind]string{ipxe.LPAR: "On the HMC", ipxe.ZVM: "vmur pun -r -u ZWORKER0", ipxe.KVM: "virt-install --name zworker0"} {
		var out bytes.Buffer
		if err := files.finish(t.Context(), &out, kind, dir); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), "rd.neednet=1\n") || !strings.Contains(out.String(), want) || strings.Contains(out.String(), "secret") {
			t.Errorf("%s prints:\n%s", kind, out.String())
		}
	}
	for name, want := range map[string]string{
		"kernel.img": "kernel", "initrd.img": "initrd", "initrd.addrsize": "0123456789abcdef", "zworker0.prm": "rd.neednet=1\n",
		"zworker0.ins": "* Slipway\nkernel.img 0x00000000\ninitrd.img 0x02000000\nzworker0.prm 0x00010480\ninitrd.addrsize 0x00010408\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	files.initrd = server.URL + "/images/gone?api_key=secret"
	if err := files.write(t.Context(), dir, ""); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestParmQuery(t *testing.T) {
	p := parm{kind: "lpar", ip: []string{"enc1:dhcp"}, channels: []string{"bdf0,bdf1,bdf2"}, hiper: []string{"8000,8001,8002"}, lunScan: true,
		fcp: []string{"0.0.1900,0x500507630a0b0c0d,0x4010400000000000"}}
	got, err := image.ParseParm(p.query())
	if err != nil || len(got.Channels) != 2 || len(got.IP) != 1 || !got.LUNScan {
		t.Errorf("%+v %v", got, err)
	}
	p.dasd = []string{"vax"}
	if _, err := image.ParseParm(p.query()); err == nil {
		t.Error("a device that is none is taken")
	}
}
