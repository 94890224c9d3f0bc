package networkpolicies

import (
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The table is replaced in one transaction. An address that is none of a pod's is the node or the machine around it,
// whose kubelet and tests reach every pod.
const table = `add table ip network-policies
delete table ip network-policies
table ip network-policies {
	chain forward {
		type filter hook forward priority -10; policy accept;
		ct state established,related accept
		ip saddr != %s accept
%s	}
%s}
`

// What the rules follow from.
type snapshot struct {
	policies   []*networking.NetworkPolicy
	pods       []*core.Pod
	namespaces map[string]labels.Set
	podRange   string
}

// Sides of a connection on which a pod can be isolated.
type side struct {
	policyType networking.PolicyType
	chain      string
	own, peer  string
}

var (
	ingress = side{networking.PolicyTypeIngress, "to", "ip daddr", "ip saddr"}
	egress  = side{networking.PolicyTypeEgress, "from", "ip saddr", "ip daddr"}
)

// A rule of a policy, of either side.
type rule struct {
	peers []networking.NetworkPolicyPeer
	ports []networking.NetworkPolicyPort
}

// The addresses that a rule speaks of, and the pod that has them if it is one.
type peer struct {
	addresses []string
	pod       *core.Pod
}

// script is the input of nft.
func (s *snapshot) script() string {
	var jumps, chains strings.Builder
	for _, pod := range s.pods {
		for _, side := range []side{ingress, egress} {
			allowed, isolated := s.allowed(pod, side)
			if !isolated {
				continue
			}
			address := pod.Status.PodIP
			chain := side.chain + "_" + address
			fmt.Fprintf(&jumps, "\t\t%s %s jump %s\n", side.own, address, chain)
			// A pod reaches itself, also through its Service.
			fmt.Fprintf(&chains, "\tchain %s {\n\t\t%s %s return\n", chain, side.peer, address)
			for _, match := range allowed {
				fmt.Fprintf(&chains, "\t\t%s\n", strings.TrimSpace(match+" return"))
			}
			chains.WriteString("\t\tdrop\n\t}\n")
		}
	}
	return fmt.Sprintf(table, s.podRange, jumps.String(), chains.String())
}

// allowed is what any policy lets through on this side of the pod; without a policy about it, it is not isolated.
func (s *snapshot) allowed(pod *core.Pod, side side) (allowed []string, isolated bool) {
	for _, policy := range s.policies {
		if policy.Namespace != pod.Namespace || !slices.Contains(policy.Spec.PolicyTypes, side.policyType) ||
			!selects(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = true
		for _, rule := range rulesOf(policy, side) {
			for _, peer := range s.peers(policy.Namespace, rule.peers, side) {
				destination := pod
				if side == egress {
					destination = peer.pod
				}
				for _, port := range s.ports(rule.ports, destination) {
					allowed = append(allowed, strings.Join(slices.Concat(peer.addresses, port), " "))
				}
			}
		}
	}
	return allowed, isolated
}

func rulesOf(policy *networking.NetworkPolicy, side side) (rules []rule) {
	if side == ingress {
		for _, one := range policy.Spec.Ingress {
			rules = append(rules, rule{one.From, one.Ports})
		}
		return rules
	}
	for _, one := range policy.Spec.Egress {
		rules = append(rules, rule{one.To, one.Ports})
	}
	return rules
}

// peers are everybody if none is named.
func (s *snapshot) peers(namespace string, asked []networking.NetworkPolicyPeer, side side) (peers []peer) {
	if len(asked) == 0 {
		return []peer{{}}
	}
	for _, one := range asked {
		if block := one.IPBlock; block != nil {
			addresses := []string{side.peer, block.CIDR}
			if len(block.Except) > 0 {
				addresses = append(addresses, side.peer, "!= {", strings.Join(block.Except, ", "), "}")
			}
			peers = append(peers, peer{addresses: addresses})
			continue
		}
		for _, pod := range s.pods {
			inNamespace := pod.Namespace == namespace
			if one.NamespaceSelector != nil {
				inNamespace = selects(one.NamespaceSelector, s.namespaces[pod.Namespace])
			}
			if inNamespace && (one.PodSelector == nil || selects(one.PodSelector, pod.Labels)) {
				peers = append(peers, peer{[]string{side.peer, pod.Status.PodIP}, pod})
			}
		}
	}
	return peers
}

// ports are all if none is named. The name of a port means what the destination calls so: a pod, or any if that is open.
func (s *snapshot) ports(asked []networking.NetworkPolicyPort, destination *core.Pod) (ports [][]string) {
	if len(asked) == 0 {
		return [][]string{nil}
	}
	for _, one := range asked {
		protocol := core.ProtocolTCP
		if one.Protocol != nil {
			protocol = *one.Protocol
		}
		layer := strings.ToLower(string(protocol))
		switch {
		case one.Port == nil:
			ports = append(ports, []string{"meta l4proto", layer})
		case one.Port.Type == intstr.Int && one.EndPort != nil:
			ports = append(ports, []string{layer, "dport", fmt.Sprintf("%d-%d", one.Port.IntVal, *one.EndPort)})
		case one.Port.Type == intstr.Int:
			ports = append(ports, []string{layer, "dport", one.Port.String()})
		case destination != nil:
			for _, number := range numbers(destination, one.Port.StrVal, protocol) {
				ports = append(ports, []string{layer, "dport", number})
			}
		default:
			for _, pod := range s.pods {
				for _, number := range numbers(pod, one.Port.StrVal, protocol) {
					ports = append(ports, []string{"ip daddr", pod.Status.PodIP, layer, "dport", number})
				}
			}
		}
	}
	return ports
}

// numbers are the ports that the containers of a pod call by this name.
func numbers(pod *core.Pod, name string, protocol core.Protocol) (numbers []string) {
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, port := range container.Ports {
			if port.Name == name && port.Protocol == protocol {
				numbers = append(numbers, fmt.Sprint(port.ContainerPort))
			}
		}
	}
	return numbers
}

func selects(selector *meta.LabelSelector, set labels.Set) bool {
	parsed, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set) // the API server takes no selector that cannot be parsed
}

// hasAddress tells whether a pod has an address of its own, which it gives back when it has ended.
func hasAddress(pod *core.Pod) bool {
	return pod.Status.PodIP != "" && !pod.Spec.HostNetwork &&
		pod.Status.Phase != core.PodSucceeded && pod.Status.Phase != core.PodFailed
}

// tidy leaves the pods that rules can speak of, and puts everything in an order: the same state makes the same script.
func (s *snapshot) tidy() {
	s.pods = slices.DeleteFunc(s.pods, func(pod *core.Pod) bool { return !hasAddress(pod) })
	slices.SortFunc(s.pods, func(a, b *core.Pod) int { return strings.Compare(a.Status.PodIP, b.Status.PodIP) })
	slices.SortFunc(s.policies, func(a, b *networking.NetworkPolicy) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
}
