package image

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/openshift/assisted-service/api/v1beta1"
)

// read gives the content that a name has over TFTP, after a look that its size is what was announced.
func (w *world) read(name string) ([]byte, error) {
	w.t.Helper()
	f, size, err := w.service.Files(w.t.Context()).Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil || int64(len(data)) != size {
		w.t.Errorf("%s has %d bytes, %d were announced: %v", name, len(data), size, err)
	}
	return data, nil
}

// foreign makes the world's OS one of another architecture, with neither rootfs nor disk.
func (w *world) foreign(architecture string) {
	w.t.Helper()
	w.describe(func(d map[string]any) {
		d["cpuArchitecture"] = architecture
		delete(d, "rootfs")
		delete(d, "disk")
		delete(d, "iso")
	})
	image, err := OpenOS(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = image.Close() })
	if err := w.service.Add(image); err != nil {
		w.t.Fatal(err)
	}
	w.infraEnv.Spec.CpuArchitecture = architecture
}

func TestBootFiles(t *testing.T) {
	const mac = "52:54:00:00:00:01"
	for name, c := range map[string]struct {
		file         string
		architecture string
		decision     func(*world) Decision
		want         []string // all of these in the file, or no file when nil
	}{
		"GRUB asks further":                  {file: "grub/grub.cfg", want: []string{"source /boot/at/$net_default_server/$grub_cpu/grub.cfg-01-$net_default_mac"}},
		"GRUB asks further by its own names": {file: "grub/grub.cfg-01-52-54-00-00-00-01", want: []string{"source /boot/at/"}},
		"x86 discovery": {file: "boot/at/10.7.0.2/x86_64/grub.cfg-01-" + mac,
			want: []string{"linux /boot/os/x86_64/12.1/kernel 'coreos.live.rootfs_url=http://10.7.0.2:8080/", "initrd /boot/at/10.7.0.2/images/" + uid + "/"}},
		"IPv6":                        {file: "boot/at/[fd00:7::2]/x86_64/grub.cfg-01-" + mac, want: []string{"rootfs_url=http://[fd00:7::2]:8080/", "/boot/at/fd00:7::2/images/"}},
		"an address that is not ours": {file: "boot/at/10.9.9.9/x86_64/grub.cfg-01-" + mac, want: []string{"rootfs_url=http://10.7.0.2:8080/"}},
		"arm64":                       {file: "boot/at/10.7.0.2/arm64/grub.cfg-01-" + mac, architecture: "aarch64", want: []string{"linux /boot/os/aarch64/12.1/kernel 'random.trust_cpu=on'"}},
		"Power GRUB":                  {file: "boot/at/10.7.0.2/powerpc/grub.cfg-01-" + mac, architecture: "ppc64le", want: []string{"/boot/os/ppc64le/12.1/kernel", "console=hvc0"}},
		"petitboot":                   {file: "pxelinux.cfg/01-52-54-00-00-00-01", architecture: "ppc64le", want: []string{"KERNEL /boot/os/ppc64le/12.1/kernel", "APPEND random"}},
		"petitboot by prefix":         {file: "boot/at/10.7.0.2/ppc64le/pxelinux.cfg/01-52-54-00-00-00-01", architecture: "ppc64le", want: []string{"KERNEL /boot/os/ppc64le/12.1/kernel"}},
		"SLOF":                        {file: "boot/at/10.7.0.2/slof/pxelinux.cfg/01-52-54-00-00-00-01", architecture: "ppc64le", want: []string{"KERNEL /boot/os/ppc64le/12.1/kernel.slof"}},
		"IBM Z":                       {file: "boot/at/10.7.0.2/s390x/01-52-54-00-00-00-01.ins", architecture: "s390x", want: []string{"boot/os/s390x/12.1/kernel 0x00000000", "/generic.prm 0x00010480"}},
		"no OS of that kind":          {file: "boot/at/10.7.0.2/arm64/grub.cfg-01-" + mac, want: []string{"echo 'this machine cannot boot: there is no OS image for aarch64'", "sleep 3"}},
		"waits":                       {file: "boot/at/10.7.0.2/x86_64/grub.cfg-01-" + mac, decision: func(*world) Decision { return Decision{} }, want: []string{"echo 'There is no InfraEnv", "sleep 3"}},
		"installed":                   {file: "boot/at/10.7.0.2/x86_64/grub.cfg-01-" + mac, decision: func(*world) Decision { return Decision{Local: true} }, want: []string{"exit"}},
		"petitboot waits":             {file: "pxelinux.cfg/01-" + mac, decision: func(*world) Decision { return Decision{} }, want: []string{"SAY There is no InfraEnv"}},
		"IBM Z waits":                 {file: "boot/at/10.7.0.2/s390x/01-" + mac + ".ins", decision: func(*world) Decision { return Decision{} }},
		"IBM Z installed":             {file: "boot/at/10.7.0.2/s390x/01-" + mac + ".ins", decision: func(*world) Decision { return Decision{Local: true} }},
		"x86 with .ins":               {file: "boot/at/10.7.0.2/x86_64/01-" + mac + ".ins"},
		"no MAC":                      {file: "boot/at/10.7.0.2/x86_64/grub.cfg-01-x"},
		"no CPU":                      {file: "boot/at/10.7.0.2//grub.cfg-01-" + mac},
		"no address":                  {file: "boot/at/x/x86_64/grub.cfg-01-" + mac},
		"unknown CPU":                 {file: "boot/at/10.7.0.2/vax/grub.cfg-01-" + mac},
		"something else":              {file: "boot/at/10.7.0.2/x86_64/menu.lst"},
		"a loader":                    {file: "undionly.kpxe"},
		"nothing":                     {file: ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.decision = Decision{InfraEnv: w.infraEnv}
			if c.decision != nil {
				w.decision = c.decision(w)
			}
			if c.architecture != "" {
				w.foreign(c.architecture)
			}
			got, err := w.read(c.file)
			if c.want == nil {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("got %q, %v, want no file", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(got), want) {
					t.Errorf("%q is not in:\n%s", want, got)
				}
			}
			answer := w.ask(http.MethodGet, "/"+c.file, "")
			defer answer.Body.Close()
			if body, err := io.ReadAll(answer.Body); err != nil || string(body) != string(got) {
				t.Errorf("HTTP gives %s %q, %v", answer.Status, body, err)
			}
		})
	}
}

// names of the files of one boot of IBM Z, by what they are loaded for.
func insNames(t *testing.T, w *world) (kernel, initrd, parm, addrSize string) {
	t.Helper()
	ins, err := w.read("boot/at/10.7.0.2/s390x/01-52-54-00-00-00-01.ins")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for line := range strings.Lines(string(ins)) {
		if fields := strings.Fields(line); fields[0] != "*" {
			names[fields[1]] = fields[0]
		}
	}
	return names["0x00000000"], names["0x02000000"], names["0x00010480"], names["0x00010408"]
}

func TestInsFiles(t *testing.T) {
	w := newWorld(t)
	w.foreign("s390x")
	w.infraEnv.Spec.KernelArguments = []v1beta1.KernelArgument{{Operation: "append", Value: "ip=dhcp"}}
	w.decision = Decision{InfraEnv: w.infraEnv}
	kernel, initrd, parm, addrSize := insNames(t, w)
	if got, err := w.read(kernel); err != nil || string(got) != string(w.files["kernel"]) {
		t.Errorf("kernel: %d bytes, %v", len(got), err)
	}
	if got, err := w.read(parm); err != nil || !strings.Contains(string(got), "ip=dhcp") {
		t.Errorf("generic.prm: %q, %v", got, err)
	}
	image, err := w.read(initrd)
	if err != nil || !strings.HasPrefix(string(image), string(w.files["initrd.img"])) || !strings.Contains(string(image), "config.ign") {
		t.Errorf("initrd: %d bytes, %v", len(image), err)
	}
	size, err := w.read(addrSize)
	if err != nil || len(size) != 16 || binary.BigEndian.Uint64(size) != 0x02000000 || binary.BigEndian.Uint64(size[8:]) != uint64(len(image)) {
		t.Errorf("initrd.addrsize: % x, %v for %d bytes", size, err, len(image))
	}
	answer := w.ask(http.MethodGet, "/images/"+uid+"/s390x-initrd-addrsize?api_key="+token1, "")
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != string(size) {
		t.Errorf("HTTP gives %s % x, %v", answer.Status, body, err)
	}
	for _, wrong := range []string{
		strings.Replace(initrd, uid, "5ab6ea6e-6b1e-4c0a-9d0e-000000000000", 1), strings.Replace(initrd, "/s390x/", "/aarch64/", 1),
		strings.Replace(parm, "generic.prm", "config.ign", 1), strings.Replace(initrd, uid+"/", uid+"/0", 1),
	} {
		if _, err := w.read(wrong); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	w.infraEnv.Generation++
	if _, err := w.read(initrd); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an initrd of the former generation is given: %v", err)
	}
}

func TestInsFile(t *testing.T) {
	w := newWorld(t)
	w.foreign("s390x")
	for path, want := range map[string]int{
		"/boot-artifacts/ins-file?arch=s390x": http.StatusOK, "/boot-artifacts/ins-file?arch=x86_64": http.StatusNotFound,
		"/boot-artifacts/ins-file?arch=s390x&version=9": http.StatusNotFound, "/images/" + uid + "/s390x-initrd-addrsize": http.StatusUnauthorized,
		"/images/" + uid + "/s390x-initrd-addrsize?api_key=x": http.StatusForbidden, "/boot-artifacts/rootfs?arch=s390x": http.StatusNotFound,
		"/images/" + uid + "/s390x-initrd-addrsize?version=9&api_key=" + token1: http.StatusNotFound, "/boot-artifacts/disk?arch=s390x": http.StatusNotFound,
	} {
		answer := w.ask(http.MethodGet, path, "")
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, answer.Status, want)
		}
	}
}

func FuzzBootFileName(f *testing.F) {
	for _, name := range []string{"grub/grub.cfg", "boot/at/10.7.0.2/x86_64/grub.cfg-01-52:54:00:00:00:01", "boot/at/[fd00:7::2]/s390x/01-52-54-00-00-00-01.ins",
		"boot/at/10.7.0.2/images/" + uid + "/0123/s390x/12.1/initrd.img", "boot/os/x86_64/12.1/kernel", "pxelinux.cfg/01-52-54-00-00-00-01", "../../etc/passwd", "\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		w := newWorld(t)
		w.decision = Decision{InfraEnv: w.infraEnv}
		if data, err := w.read(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		} else if strings.Contains(string(data), "config.ign") {
			t.Errorf("%q gives a configuration to somebody who has not been given its name", name)
		}
	})
}

func TestHostOfZ(t *testing.T) {
	w := newWorld(t)
	w.foreign(architectureZ)
	w.decision = Decision{InfraEnv: w.infraEnv}
	const query = "type=zvm&ip=10.7.0.20%3A%3A10.7.0.1%3A24%3Azworker0%3Aencbdf0%3Anone&osa=0.0.bdf0%2C0.0.bdf1%2C0.0.bdf2&dasd=0.0.5d0a"
	w.infraEnv.Annotations = map[string]string{ParmAnnotation + "zworker0": query, ParmAnnotation + "broken": "type=vax"}
	const dir = "boot/at/10.7.0.2/z/" + uid + "/"
	parm, err := w.read(dir + "zworker0.prm")
	if err != nil || !strings.Contains(string(parm), "rd.znet=qeth,0.0.bdf0,0.0.bdf1,0.0.bdf2,layer2=1") || !strings.Contains(string(parm), "rd.dasd=0.0.5d0a") {
		t.Errorf("%s %v", parm, err)
	}
	ins, err := w.read(dir + "zworker0.ins")
	if err != nil || !strings.Contains(string(ins), dir+"zworker0.prm 0x00010480\n") || !strings.Contains(string(ins), "/initrd.addrsize 0x00010408\n") {
		t.Errorf("%s %v", ins, err)
	}
	for _, none := range []string{dir + "other.prm", dir + "zworker0.txt", dir + "../x.prm", "boot/at/10.7.0.2/z/x/zworker0.prm", "boot/z/12.1"} {
		if data, err := w.read(none); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q %v", none, data, err)
		}
	}
	if data, err := w.read(dir + "broken.prm"); err == nil {
		t.Errorf("a broken annotation gives %q", data)
	}
	if _, err := ParseParm(url.Values{"type": {"kvm"}, "vax": {"1"}}); err == nil {
		t.Error("an unknown key is taken")
	}
	for _, bad := range []string{"", "Z", "-a", "a/b", "a.b", strings.Repeat("a", 64)} {
		if HostName(bad) == nil {
			t.Errorf("host name %q is taken", bad)
		}
	}
}
