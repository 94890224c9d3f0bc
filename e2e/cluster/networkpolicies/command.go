// Package networkpolicies enforces NetworkPolicies on the pods of a single node, by a table of nftables that is made
// anew from all policies, pods and namespaces whenever one of them changes. What a connection may do is decided when it
// begins. As in Kubernetes' definition, the node itself reaches its pods and is reached by them, whatever policies say.
package networkpolicies

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// NewCommand is the component's own.
func NewCommand() *cobra.Command {
	var kubeconfig, podRange string
	command := &cobra.Command{
		Use:   "network-policies",
		Short: "enforces NetworkPolicies on the pods of this node",
		RunE:  func(command *cobra.Command, _ []string) error { return run(command.Context(), kubeconfig, podRange) },
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&podRange, "pods", "", "the addresses of pods, as a CIDR")
	return command
}

func run(ctx context.Context, kubeconfig, podRange string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	changed := make(chan struct{}, 1)
	current := watch(factory, podRange, changed)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	var applied string
	for range changed {
		snapshot, err := current()
		if err != nil {
			return err
		}
		script := snapshot.script()
		if script == applied {
			continue
		}
		if err := load(ctx, script); err != nil {
			klog.ErrorS(err, "cannot change the rules")
			time.Sleep(time.Second)
			note(changed)
			continue
		}
		applied = script
		klog.InfoS("changed the rules", "policies", len(snapshot.policies), "pods", len(snapshot.pods))
	}
	return nil
}

// watch notes every change, and returns how to see what there is.
func watch(factory informers.SharedInformerFactory, podRange string, changed chan struct{}) func() (*snapshot, error) {
	policies := factory.Networking().V1().NetworkPolicies()
	pods := factory.Core().V1().Pods()
	namespaces := factory.Core().V1().Namespaces()
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { note(changed) },
		UpdateFunc: func(any, any) { note(changed) },
		DeleteFunc: func(any) { note(changed) },
	}
	for _, informer := range []cache.SharedIndexInformer{policies.Informer(), pods.Informer(), namespaces.Informer()} {
		_, _ = informer.AddEventHandler(handler) // fails only for an informer that has stopped
	}
	return func() (*snapshot, error) {
		seen := &snapshot{namespaces: map[string]labels.Set{}, podRange: podRange}
		everything := labels.Everything()
		all, err := namespaces.Lister().List(everything)
		if err != nil {
			return nil, err
		}
		for _, namespace := range all {
			seen.namespaces[namespace.Name] = namespace.Labels
		}
		if seen.policies, err = policies.Lister().List(everything); err != nil {
			return nil, err
		}
		if seen.pods, err = pods.Lister().List(everything); err != nil {
			return nil, err
		}
		seen.tidy()
		return seen, nil
	}
}

// A change that nobody has looked at yet stands for all that come after it.
func note(changed chan struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}

func load(ctx context.Context, script string) error {
	command := exec.CommandContext(ctx, "nft", "-f", "-")
	command.Stdin = strings.NewReader(script)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output)
	}
	return nil
}
