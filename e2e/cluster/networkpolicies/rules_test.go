package networkpolicies

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Two pods of the shop, one of which serves, and one in another namespace.
const pods = `[
	{"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
	 "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]},
	 "status": {"podIP": "10.244.0.2", "phase": "Running"}},
	{"metadata": {"name": "till", "namespace": "shop", "labels": {"app": "till"}},
	 "status": {"podIP": "10.244.0.3", "phase": "Running"}},
	{"metadata": {"name": "probe", "namespace": "sre", "labels": {"app": "till"}},
	 "status": {"podIP": "10.244.0.4", "phase": "Running"}},
	{"metadata": {"name": "ended", "namespace": "shop", "labels": {"app": "till"}},
	 "status": {"podIP": "10.244.0.4", "phase": "Succeeded"}}]`

// What a policy about `web`, given by the rest of its spec, lets through; nil when it does not isolate the pod.
func passes(t *testing.T, side side, spec string) []string {
	t.Helper()
	seen := snapshotWith(t, spec)
	allowed, isolated := seen.allowed(seen.pods[0], side)
	if !isolated {
		return nil
	}
	return append([]string{}, allowed...)
}

func snapshotWith(t *testing.T, spec string) *snapshot {
	t.Helper()
	policy := &networking.NetworkPolicy{}
	policy.Namespace = "shop"
	parse(t, `{"podSelector": {"matchLabels": {"app": "web"}}, `+spec+`}`, &policy.Spec)
	var all []*core.Pod
	parse(t, pods, &all)
	seen := &snapshot{
		policies:   []*networking.NetworkPolicy{policy},
		pods:       all,
		namespaces: map[string]labels.Set{"shop": {"team": "shop"}, "sre": {"team": "sre"}},
		podRange:   "10.244.0.0/24",
	}
	seen.tidy()
	return seen
}

func parse(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAPolicyLetsThrough(t *testing.T) {
	for name, story := range map[string]struct {
		side side
		spec string
		want []string
	}{
		"nothing":                        {ingress, `"policyTypes": ["Ingress"]`, []string{}},
		"the other side is not isolated": {egress, `"policyTypes": ["Ingress"]`, nil},
		"everything":                     {ingress, `"policyTypes": ["Ingress"], "ingress": [{}]`, []string{""}},
		"a named port": {ingress, `"policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": "http"}]}]`,
			[]string{"tcp dport 8080"}},
		"a name that the pod does not know": {ingress,
			`"policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": "grpc"}]}]`, []string{}},
		"pods of the own namespace": {ingress,
			`"policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "till"}}}]}]`,
			[]string{"ip saddr 10.244.0.3"}},
		"pods of another namespace": {ingress,
			`"policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "sre"}},
			  "podSelector": {"matchLabels": {"app": "till"}}}]}]`,
			[]string{"ip saddr 10.244.0.4"}},
		"both of two selectors, or one": {ingress,
			`"policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "sre"}}},
			  {"podSelector": {}}], "ports": [{"port": 80, "endPort": 90}, {"protocol": "UDP"}]}]`,
			[]string{"ip saddr 10.244.0.4 tcp dport 80-90", "ip saddr 10.244.0.4 meta l4proto udp",
				"ip saddr 10.244.0.2 tcp dport 80-90", "ip saddr 10.244.0.2 meta l4proto udp",
				"ip saddr 10.244.0.3 tcp dport 80-90", "ip saddr 10.244.0.3 meta l4proto udp"}},
		"addresses with a hole": {ingress,
			`"policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}}]}]`,
			[]string{"ip saddr 10.0.0.0/8 ip saddr != { 10.1.0.0/16, 10.2.0.0/16 }"}},
		"a port as its destination calls it": {egress, `"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]`,
			[]string{"ip daddr 10.244.0.2 tcp dport 8080"}},
		"a port of a pod that is named": {egress,
			`"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": "http"}]}]`,
			[]string{"ip daddr 10.244.0.2 tcp dport 8080"}},
	} {
		got := passes(t, story.side, story.spec)
		if (got == nil) != (story.want == nil) || strings.Join(got, "\n") != strings.Join(story.want, "\n") {
			t.Errorf("%s: let through %q, not %q", name, got, story.want)
		}
	}
}

func TestNftTakesTheScript(t *testing.T) {
	seen := snapshotWith(t, `"policyTypes": ["Ingress", "Egress"], "egress": [{}], "ingress": [{"from": [
		{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}, {"namespaceSelector": {}}],
		"ports": [{"port": "http"}, {"port": 80, "endPort": 90, "protocol": "SCTP"}, {"protocol": "UDP"}]}]`)
	command := exec.Command("unshare", "--net", "nft", "--check", "--file", "-")
	command.Stdin = strings.NewReader(seen.script())
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, output, seen.script())
	}
}
