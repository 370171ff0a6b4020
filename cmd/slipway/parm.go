package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/ipxe"
	"github.com/slipway-io/slipway/services/image"
)

// parm is what `slipway image parm` was asked.
type parm struct {
	api                                         apiFlags
	namespace, infraEnv, host, kind, rootfs     string
	ip, nameservers, channels, hiper, dasd, fcp []string
	lunScan                                     bool
	output                                      string
}

func imageParmCommand() *cobra.Command {
	p := &parm{}
	cmd := &cobra.Command{
		Use:   "parm",
		Short: "Make the parm file of a host of IBM Z, and the files that start it",
		Example: "  slipway image parm --infraenv z --host zworker0 --type lpar --ip 10.7.0.20::10.7.0.1:24:zworker0:encbdf0:none --nameserver 10.7.0.2 \\\n" +
			"    --osa 0.0.bdf0,0.0.bdf1,0.0.bdf2 --dasd 0.0.5d0a --output /srv/ftp/zworker0",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	flags := cmd.Flags()
	p.api.add(cmd)
	flags.StringVar(&p.namespace, "namespace", hostNamespace, "namespace of the InfraEnv")
	flags.StringVar(&p.infraEnv, "infraenv", "", "InfraEnv of s390x")
	flags.StringVar(&p.host, "host", "", "name of the host")
	flags.StringVar(&p.kind, "type", "", "how it is started: lpar, zvm or kvm")
	flags.StringArrayVar(&p.ip, "ip", nil, "address as the kernel's ip=: ADDRESS::GATEWAY:NETMASK:HOSTNAME:INTERFACE:none (IPv6 in brackets), INTERFACE:dhcp or dhcp; may be repeated")
	flags.StringArrayVar(&p.nameservers, "nameserver", nil, "DNS server; may be repeated")
	flags.StringArrayVar(&p.channels, "osa", nil, "OSA port READ,WRITE,DATA[,layer2=0|1][,portno=0|1], as 0.0.bdf0,0.0.bdf1,0.0.bdf2; may be repeated")
	flags.StringArrayVar(&p.hiper, "hipersockets", nil, "HiperSockets, written as --osa; may be repeated")
	flags.StringArrayVar(&p.dasd, "dasd", nil, "DASD, as 0.0.5d0a; may be repeated")
	flags.StringArrayVar(&p.fcp, "zfcp", nil, "path to a LUN: DEVICE,WWPN,LUN; more than one to the same LUN is multipath")
	flags.BoolVar(&p.lunScan, "allow-lun-scan", false, "let the kernel attach every LUN that NPIV shows it")
	flags.StringVar(&p.rootfs, "rootfs-url", "", "where the host gets the root file system, instead of the appliance")
	flags.StringVar(&p.output, "output", "", "directory to write the files into, for FTP to the HMC")
	for _, name := range []string{"infraenv", "host", "type"} {
		// The flags are those of above.
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func (p *parm) query() url.Values {
	query := url.Values{"type": {p.kind}}
	for key, values := range map[string][]string{
		"ip": p.ip, "nameserver": p.nameservers, "osa": append(p.channels, p.hiper...), "dasd": p.dasd, "zfcp": p.fcp,
	} {
		if len(values) > 0 {
			query[key] = values
		}
	}
	if p.rootfs != "" {
		query.Set("rootfs", p.rootfs)
	}
	if p.lunScan {
		query.Set("lunscan", "true")
	}
	return query
}

func (p *parm) run(ctx context.Context, out io.Writer) error {
	query := p.query()
	if err := image.HostName(p.host); err != nil {
		return err
	}
	if _, err := image.ParseParm(query); err != nil {
		return err
	}
	kube, err := p.api.client()
	if err != nil {
		return err
	}
	infraEnv := &agentv1beta1.InfraEnv{}
	if err := kube.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: p.infraEnv}, infraEnv); err != nil {
		return fmt.Errorf("read InfraEnv %s/%s: %w", p.namespace, p.infraEnv, err)
	}
	if infraEnv.Spec.CpuArchitecture != "s390x" {
		return fmt.Errorf("InfraEnv %s/%s is for %q: a parm file needs one with cpuArchitecture s390x", p.namespace, p.infraEnv, infraEnv.Spec.CpuArchitecture)
	}
	initrd := infraEnv.Status.BootArtifacts.InitrdURL
	if initrd == "" {
		return fmt.Errorf("InfraEnv %s/%s has no image yet: its condition ImageCreated says why", p.namespace, p.infraEnv)
	}
	before := infraEnv.DeepCopy()
	if infraEnv.Annotations == nil {
		infraEnv.Annotations = map[string]string{}
	}
	infraEnv.Annotations[image.ParmAnnotation+p.host] = query.Encode()
	if err := kube.Patch(ctx, infraEnv, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("note parm file in InfraEnv %s/%s: %w", p.namespace, p.infraEnv, err)
	}
	files, err := newParmFiles(p.host, string(infraEnv.UID), infraEnv.Status.BootArtifacts)
	if err != nil {
		return err
	}
	return files.finish(ctx, out, ipxe.Kind(p.kind), p.output)
}

// parmFiles says where the files of a host are.
type parmFiles struct {
	host, uid, server         string // server is http://address:port
	kernel, initrd, size, prm string // URLs
}

func newParmFiles(host, uid string, artifacts agentv1beta1.BootArtifacts) (parmFiles, error) {
	initrd, err := url.Parse(artifacts.InitrdURL)
	if err != nil {
		return parmFiles{}, fmt.Errorf("read the InfraEnv's initrd URL: %w", err)
	}
	size := *initrd
	size.Path = strings.TrimSuffix(size.Path, "pxe-initrd") + "s390x-initrd-addrsize"
	server := initrd.Scheme + "://" + initrd.Host
	return parmFiles{
		host: host, uid: uid, server: server, kernel: artifacts.KernelURL, initrd: artifacts.InitrdURL, size: size.String(),
		prm: server + "/boot/at/" + initrd.Hostname() + "/z/" + uid + "/" + host + ".prm",
	}, nil
}

// finish prints the parm file and what to type, and writes the files where asked.
func (f parmFiles) finish(ctx context.Context, out io.Writer, kind ipxe.Kind, output string) error {
	var text strings.Builder
	// The appliance sees the InfraEnv through a cache, a moment after it was written.
	if err := retry(ctx, 10*time.Second, func() error { text.Reset(); return fetch(ctx, f.prm, &text) }); err != nil {
		return err
	}
	fmt.Fprint(out, text.String())
	if output != "" {
		if err := f.write(ctx, output, text.String()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(out, "\n", f.advice(kind, output))
	return err
}

func (f parmFiles) write(ctx context.Context, dir, text string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make output directory: %w", err)
	}
	ins, err := ipxe.Ins{Kernel: "kernel.img", Initrd: "initrd.img", Parm: f.host + ".prm", AddrSize: "initrd.addrsize"}.File()
	if err != nil {
		return err
	}
	for name, content := range map[string]string{f.host + ".prm": text, f.host + ".ins": ins} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	for name, from := range map[string]string{"kernel.img": f.kernel, "initrd.img": f.initrd, "initrd.addrsize": f.size} {
		if err := download(ctx, from, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func download(ctx context.Context, from, to string) (err error) {
	// The initrd holds the InfraEnv's token.
	file, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", to, err)
	}
	defer func() {
		if closed := file.Close(); err == nil && closed != nil {
			err = fmt.Errorf("write %s: %w", to, closed)
		}
	}()
	return fetch(ctx, from, file)
}

// fetch leaves the query out of its errors: it has the token.
func fetch(ctx context.Context, from string, to io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return fmt.Errorf("ask the appliance: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("fetch %s from the appliance: %w", request.URL.Path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		problem, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		return fmt.Errorf("fetch %s from the appliance: %s: %s", request.URL.Path, response.Status, problem)
	}
	if _, err := io.Copy(to, response.Body); err != nil {
		return fmt.Errorf("fetch %s from the appliance: %w", request.URL.Path, err)
	}
	return nil
}

// retry asks again every half second until it works or the time is over.
func retry(ctx context.Context, within time.Duration, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := do()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// advice is what to type next.
func (f parmFiles) advice(kind ipxe.Kind, output string) string {
	dir := output
	if dir == "" {
		dir = "DIR"
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	where := "The appliance serves it as " + f.prm + ",\nand over TFTP as " + strings.TrimPrefix(f.prm, f.server+"/") + " and .ins beside it.\n"
	if output == "" {
		where += "With --output DIR the kernel, the initrd and the .ins file are written beside it.\n"
	}
	switch kind {
	case ipxe.LPAR:
		return where + "On the HMC: Recovery, Load from Removable Media or Server, FTP, the directory " + dir + ", then " + f.host + ".ins\n"
	case ipxe.ZVM:
		return where + "In a Linux guest that may punch to the reader of the z/VM guest:\n" +
			"  vmur pun -r -u " + strings.ToUpper(f.host) + " -N kernel.img " + file("kernel.img") + "\n" +
			"  vmur pun -r -u " + strings.ToUpper(f.host) + " -N generic.parm " + file(f.host+".prm") + "\n" +
			"  vmur pun -r -u " + strings.ToUpper(f.host) + " -N initrd.img " + file("initrd.img") + "\n" +
			"On the console of the guest: CP IPL 00C\n"
	}
	return where + "On the KVM host:\n  virt-install --name " + f.host + " --autostart --memory 16384 --cpu host --vcpus 4 \\\n" +
		"    --location " + dir + ",kernel=kernel.img,initrd=initrd.img --disk size=100 --network network=NETWORK,mac=MAC \\\n" +
		"    --graphics none --noautoconsole --wait -1 --extra-args \"$(tr '\\n' ' ' < " + file(f.host+".prm") + ")\"\n"
}
