package approval

import (
	"crypto/subtle"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-io/slipway/services/api"
)

// policies of an InfraEnv; none of them approves nobody.
type policies struct {
	networks []netip.Prefix
	serials  []string
	// secret has the token in its key token, empty for no policy.
	secret string
}

// most entries of a list: annotations of an object share 256 KiB.
const most = 5000

// parse reads the annotations; the error names the annotation, what was found and what to do.
func parse(annotations map[string]string) (policies, error) {
	var p policies
	for _, text := range list(annotations[api.ApproveCIDRsAnnotation]) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return policies{}, fmt.Errorf("annotation %s: %q is no network such as 10.7.0.0/24 or fd00:7::/64", api.ApproveCIDRsAnnotation, text)
		}
		if network != network.Masked() {
			return policies{}, fmt.Errorf("annotation %s: %q has bits behind its length; write %s", api.ApproveCIDRsAnnotation, text, network.Masked())
		}
		p.networks = append(p.networks, network)
	}
	p.serials = list(annotations[api.ApproveSerialsAnnotation])
	if len(p.networks) > most || len(p.serials) > most {
		return policies{}, fmt.Errorf("a list has more than %d entries; declare the hosts as BareMetalHosts instead", most)
	}
	if secret, is := annotations[api.ApproveTokenAnnotation]; is {
		if problems := validation.IsDNS1123Subdomain(secret); len(problems) > 0 {
			return policies{}, fmt.Errorf("annotation %s: %q is no name of a Secret", api.ApproveTokenAnnotation, secret)
		}
		p.secret = secret
	}
	return p, nil
}

// list of words between commas, spaces or line ends.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' || r == '\r' })
}

func (p policies) none() bool { return len(p.networks) == 0 && len(p.serials) == 0 && p.secret == "" }

// names of those that are in force.
func (p policies) names() string {
	var names []string
	for name, set := range map[string]bool{
		api.ApproveCIDRsAnnotation: len(p.networks) > 0, api.ApproveSerialsAnnotation: len(p.serials) > 0, api.ApproveTokenAnnotation: p.secret != "",
	} {
		if set {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// shown is what a host has shown of itself.
type shown struct {
	// from is the address that it speaks from, which it does not choose as freely as its words.
	from   netip.Addr
	serial string
	token  string
}

// approves says which policy lets the host in and why; token is that of the policy's Secret, empty when there is none. The
// reason never has the token.
func (p policies) approves(host shown, token string) (policy, why string) {
	for _, network := range p.networks {
		if host.from.IsValid() && network.Contains(host.from) {
			return api.ApproveCIDRsAnnotation, fmt.Sprintf("it registered from %s in %s", host.from, network)
		}
	}
	if host.serial != "" && slices.ContainsFunc(p.serials, func(s string) bool { return strings.EqualFold(s, host.serial) }) {
		return api.ApproveSerialsAnnotation, "its serial number " + host.serial + " is in the list"
	}
	if p.secret != "" && token != "" && subtle.ConstantTimeCompare([]byte(host.token), []byte(token)) == 1 {
		return api.ApproveTokenAnnotation, "it has shown the token of Secret " + p.secret
	}
	return "", ""
}

// shortest token; what is shorter can be guessed.
const shortest = 16

// checkToken says what is wrong with a policy's token, never what it is.
func checkToken(secret, token string) error {
	if len(token) < shortest {
		return fmt.Errorf("annotation %s: the key %s of Secret %s has fewer than %d characters", api.ApproveTokenAnnotation, tokenKey, secret, shortest)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("annotation %s: the key %s of Secret %s has other characters than printable ASCII without spaces", api.ApproveTokenAnnotation, tokenKey, secret)
	}
	return nil
}
