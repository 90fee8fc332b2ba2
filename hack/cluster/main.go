// Command kube is the Kubernetes part of the test cluster: etcd, the control plane and the kubelet in one
// program. The name of the link by which it is called says which of them it is; without a link, the first
// argument does. One program shares what the five have in common, so it links once and takes a third of the
// disk.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// components holds what main can become: each runs with os.Args as its own and returns the exit status.
var components = map[string]func() int{
	"etcd":                    runEtcd,
	"kube-apiserver":          func() int { return runCommand(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return runCommand(controllers.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return runCommand(scheduler.NewSchedulerCommand()) },
	"kubelet":                 func() int { return runCommand(kubelet.NewKubeletCommand(context.Background())) },
}

func main() {
	run, known := components[filepath.Base(os.Args[0])]
	if !known && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		run, known = components[os.Args[0]]
	}
	if !known {
		fmt.Fprintf(os.Stderr, "kube: call this program by a link of one of these names, or name one as its first argument: %s\n", names())
		os.Exit(2)
	}
	os.Exit(run())
}

func names() string {
	var all []string
	for name := range components {
		all = append(all, name)
	}
	sort.Strings(all)
	return strings.Join(all, ", ")
}

func runCommand(command *cobra.Command) int {
	return cli.Run(command)
}

// runEtcd is one etcd member, as the configuration file of its only flag describes it.
func runEtcd() int {
	if err := serveEtcd(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "etcd: %v\n", err)
		return 1
	}
	return 0
}

// serveEtcd returns when a signal asks for the end (no error) or when etcd ends by itself (always an error).
func serveEtcd(arguments []string) error {
	const flag = "--config-file="
	if len(arguments) != 1 || !strings.HasPrefix(arguments[0], flag) {
		return fmt.Errorf("called with %q: this etcd takes exactly one argument, %sFILE", arguments, flag)
	}
	file := strings.TrimPrefix(arguments[0], flag)
	config, err := embed.ConfigFromFile(file)
	if err != nil {
		return fmt.Errorf("cannot read the configuration file %s: %w", file, err)
	}

	end, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("cannot start with the configuration of %s: %w", file, err)
	}
	defer server.Close()
	select {
	case <-end.Done():
		return nil
	case <-server.Server.StopNotify():
		return errors.New("the server stopped by itself; its log says why")
	case err := <-server.Err():
		return fmt.Errorf("the server failed: %w", err)
	}
}
