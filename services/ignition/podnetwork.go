package ignition

import (
	"fmt"
	"net/netip"
	"strings"
)

// podNetwork connects the pods of all nodes, which are on one link: routes to the other nodes' pods, and one rule for what leaves the cluster.
func (b *builder) podNetwork(clusterCIDRs []netip.Prefix) {
	script := strings.ReplaceAll(embedded("pod-routes"), "@MASQUERADE@", masquerade(clusterCIDRs))
	b.file("/usr/local/libexec/slipway/pod-routes", 0o755, []byte(script))
	b.unit("pod-routes.path", embedded("pod-routes.path"))
	b.config.Systemd.Units = append(b.config.Systemd.Units, disabled("pod-routes.service", embedded("pod-routes.service")))
}

// masquerade is one nftables rule for each network of pods.
func masquerade(clusterCIDRs []netip.Prefix) string {
	var rules []string
	for _, cidr := range clusterCIDRs {
		family := "ip"
		if cidr.Addr().Is6() {
			family = "ip6"
		}
		rules = append(rules, fmt.Sprintf("        %[1]s saddr %[2]s %[1]s daddr != %[2]s masquerade", family, cidr))
	}
	return strings.Join(rules, "\n")
}
