package image

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/ipxe"
)

// ParmAnnotation and a host's name is the annotation of an InfraEnv with that host's parm file, as ParseParm reads it.
const ParmAnnotation = "parm.slipway.io/"

// hostPattern is a host's name in file names; annotations take no longer ones.
var hostPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ParseParm reads what a query says about a host of IBM Z: type, rootfs and lunscan once; ip, nameserver, osa, dasd and
// zfcp any number of times.
func ParseParm(query url.Values) (ipxe.Parm, error) {
	p := ipxe.Parm{Kind: ipxe.Kind(query.Get("type")), Rootfs: query.Get("rootfs"), LUNScan: query.Get("lunscan") == "true"}
	for key := range query {
		if !strings.Contains(" type rootfs lunscan ip nameserver osa dasd zfcp ", " "+key+" ") {
			return p, fmt.Errorf("%w: a parm file has no %q", errQuery, key)
		}
	}
	for _, text := range query["ip"] {
		address, err := ipxe.ParseAddress(text)
		if err != nil {
			return p, err
		}
		p.IP = append(p.IP, address)
	}
	for _, text := range query["nameserver"] {
		server, err := netip.ParseAddr(strings.Trim(text, "[]")) // kernels want IPv6 in brackets, people may write them
		if err != nil {
			return p, fmt.Errorf("nameserver: %w", err)
		}
		p.Nameservers = append(p.Nameservers, server)
	}
	for _, text := range query["osa"] {
		channel, err := ipxe.ParseChannel(text)
		if err != nil {
			return p, err
		}
		p.Channels = append(p.Channels, channel)
	}
	for _, text := range query["dasd"] {
		id, err := ipxe.ParseDeviceID(text)
		if err != nil {
			return p, fmt.Errorf("dasd: %w", err)
		}
		p.DASD = append(p.DASD, id)
	}
	for _, text := range query["zfcp"] {
		fcp, err := ipxe.ParseFCP(text)
		if err != nil {
			return p, err
		}
		p.ZFCP = append(p.ZFCP, fcp)
	}
	_, err := p.Render()
	return p, err
}

// HostName says whether name may be that of a parm file.
func HostName(name string) error {
	if !hostPattern.MatchString(name) {
		return fmt.Errorf("host %q is not a name of lower-case letters, digits and hyphens", name)
	}
	return nil
}

// openHost gives the files of a host of IBM Z that an InfraEnv has an annotation of.
func (s *Service) openHost(ctx context.Context, name string, at netip.Addr, uid, file string) (*opened, error) {
	host, kind := strings.TrimSuffix(file, path.Ext(file)), path.Ext(file)
	if _, err := parseID(uid); err != nil || !hostPattern.MatchString(host) {
		return nil, noFile(name)
	}
	infraEnv, err := s.config.InfraEnvs.ByUID(ctx, uid)
	if missing(err) {
		return nil, noFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("find InfraEnv %s: %w", uid, err)
	}
	noted, ok := infraEnv.Annotations[ParmAnnotation+host]
	if !ok {
		return nil, noFile(name)
	}
	switch kind {
	case ".prm":
		return text(s.hostParm(infraEnv, at, noted))
	case ".ins":
		as := s.ins(at, name)
		as.discover = func(d ipxe.Discovery) (string, error) {
			kernel, initrd := strings.TrimPrefix(d.Kernel, "/"), strings.TrimPrefix(d.Initrd, "/")
			return ipxe.Ins{Kernel: kernel, Initrd: initrd, Parm: path.Dir(name) + "/" + host + ".prm", AddrSize: path.Dir(initrd) + "/initrd.addrsize"}.File()
		}
		return text(s.discovery(ctx, infraEnv, architectureZ, s.baseAt(at), as))
	}
	return nil, noFile(name)
}

// hostParm adds what the appliance knows: where the rootfs is, and the InfraEnv's kernel arguments.
func (s *Service) hostParm(infraEnv *v1beta1.InfraEnv, at netip.Addr, noted string) (string, error) {
	query, err := url.ParseQuery(noted)
	if err != nil {
		return "", fmt.Errorf("read parm file of InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
	parm, err := ParseParm(query)
	if err != nil {
		return "", fmt.Errorf("parm file of InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
	image, ok := s.OS(infraEnv.Spec.OSImageVersion, architectureZ)
	if !ok {
		return "", fmt.Errorf("there is no OS image %s for %s", infraEnv.Spec.OSImageVersion, architectureZ)
	}
	if parm.Rootfs == "" && image.Rootfs != nil {
		parm.Rootfs = s.baseAt(at) + "/" + bootPrefix + "z/" + image.Version
	}
	if parm.Args, err = kernelArguments(infraEnv); err != nil {
		return "", err
	}
	return parm.Render()
}

// kernelArguments are those that a parm file has besides its own; only append is possible there.
func kernelArguments(infraEnv *v1beta1.InfraEnv) ([]string, error) {
	for _, argument := range infraEnv.Spec.KernelArguments {
		if argument.Operation != "append" {
			return nil, fmt.Errorf("InfraEnv %s/%s: kernel argument %q: %s is not possible in a parm file, only append is",
				infraEnv.Namespace, infraEnv.Name, argument.Value, argument.Operation)
		}
	}
	arguments, err := changeArguments(nil, infraEnv.Spec.KernelArguments)
	if err != nil {
		return nil, fmt.Errorf("InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
	return arguments, nil
}
