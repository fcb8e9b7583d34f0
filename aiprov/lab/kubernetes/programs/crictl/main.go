// Stand-in of aiprov's lab: crictl, as far as kubeadm and people at a lab's node need it.
//
// It has the real tool's commands, flags, columns and JSON for what it knows, and asks the runtime
// by CRI (v1alpha2) as the real one does, so pods' networks are torn down with them.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
)

const about = "crictl 1.24.2, stand-in of aiprov's lab"

// client is a connection to the runtime, and the flags of the command that runs.
type client struct {
	context.Context
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
	flags   *flag.FlagSet
	quiet   bool
	all     bool
	force   bool
	output  string
	name    string
	pod     string
	space   string
	image   string
	state   string
	wait    int64
}

type rows = []map[string]interface{}

var commands = map[string]func(*client) error{
	"version": version, "info": info, "pods": pods, "ps": containers, "images": images, "pull": pull,
	"inspecti": each(inspectImage), "inspect": each(inspect), "inspectp": each(inspectPod),
	"stop": each(stop), "rm": each(remove), "stopp": each(stopPod), "rmp": each(removePod),
	"rmi": each(removeImage), "logs": each(logs),
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "level=fatal msg=%q\n", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	global := flag.NewFlagSet("crictl", flag.ContinueOnError)
	endpoint, timeout, shows := "", 10*time.Second, false
	for _, name := range []string{"runtime-endpoint", "r", "image-endpoint", "i"} {
		global.StringVar(&endpoint, name, configured(), "the runtime's socket")
	}
	global.DurationVar(&timeout, "timeout", 10*time.Second, "of a connection")
	global.BoolVar(&shows, "version", false, "say what this is")
	if err := global.Parse(arguments); err != nil {
		return err
	}
	if shows || global.NArg() == 0 {
		fmt.Println(about)
		return nil
	}
	command, known := commands[global.Arg(0)]
	if !known {
		return fmt.Errorf("%s: the stand-in has no command %q", about, global.Arg(0))
	}
	path := strings.TrimPrefix(endpoint, "unix://")
	dial := func(ctx context.Context, path string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	connection, err := grpc.DialContext(ctx, path, grpc.WithInsecure(), grpc.WithBlock(), grpc.WithContextDialer(dial))
	if err != nil {
		return fmt.Errorf("connect: connect endpoint '%s', make sure you are running as root and the endpoint has been started: %v", endpoint, err)
	}
	defer connection.Close()
	one := &client{Context: context.Background(), flags: flag.NewFlagSet(global.Arg(0), flag.ContinueOnError)}
	one.runtime, one.images = cri.NewRuntimeServiceClient(connection), cri.NewImageServiceClient(connection)
	one.read()
	if err := one.flags.Parse(reordered(global.Args()[1:])); err != nil {
		return err
	}
	return command(one)
}

// read declares the flags of all commands; each takes those that it knows.
func (c *client) read() {
	toggles := map[*bool][]string{&c.quiet: {"q", "quiet"}, &c.all: {"a", "all"}, &c.force: {"f", "force"}, new(bool): {"no-trunc", "v", "verbose"}}
	for value, names := range toggles {
		for _, name := range names {
			c.flags.BoolVar(value, name, false, "")
		}
	}
	texts := map[*string][]string{&c.output: {"o", "output"}, &c.name: {"name"}, &c.pod: {"p", "pod"}, &c.space: {"namespace"}, &c.image: {"image"}, &c.state: {"s", "state"}, new(string): {"tail"}}
	for value, names := range texts {
		for _, name := range names {
			c.flags.StringVar(value, name, "", "")
		}
	}
	c.flags.Int64Var(&c.wait, "t", 0, "")
	c.flags.Int64Var(&c.wait, "timeout", 0, "")
}

// reordered puts flags before names: `crictl rmp ID -f` is understood as well.
func reordered(words []string) []string {
	front, back := []string{}, []string{}
	takes := map[string]bool{"o": true, "output": true, "name": true, "p": true, "pod": true, "namespace": true, "image": true, "s": true, "state": true, "t": true, "timeout": true, "tail": true}
	for at := 0; at < len(words); at++ {
		if !strings.HasPrefix(words[at], "-") {
			back = append(back, words[at])
			continue
		}
		front = append(front, words[at])
		if takes[strings.TrimLeft(words[at], "-")] && at+1 < len(words) {
			at++
			front = append(front, words[at])
		}
	}
	return append(front, back...)
}

// configured is the socket of the environment or of crictl.yaml, else containerd's.
func configured() string {
	if value := os.Getenv("CONTAINER_RUNTIME_ENDPOINT"); value != "" {
		return value
	}
	if file, err := os.Open("/etc/crictl.yaml"); err == nil {
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if words := strings.SplitN(lines.Text(), ":", 2); words[0] == "runtime-endpoint" && len(words) == 2 {
				return strings.Trim(words[1], " \"'")
			}
		}
	}
	return "unix:///run/containerd/containerd.sock"
}

// each runs a command for every name that is given, and fails at the end if one failed.
func each(do func(*client, string) error) func(*client) error {
	return func(c *client) error {
		if c.flags.NArg() == 0 && !c.all {
			return errors.New("ID cannot be empty")
		}
		names := c.flags.Args()
		if c.all && len(names) == 0 {
			var err error
			if names, err = everything(c); err != nil {
				return err
			}
		}
		failed := []string{}
		for _, name := range names {
			if err := do(c, name); err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", name, err))
			}
		}
		if len(failed) > 0 {
			return errors.New(strings.Join(failed, "\n"))
		}
		return nil
	}
}

// everything names all pods for the pods' commands, and all containers for the others.
func everything(c *client) ([]string, error) {
	ids := []string{}
	if strings.HasSuffix(c.flags.Name(), "p") && c.flags.Name() != "stop" {
		answer, err := c.runtime.ListPodSandbox(c, &cri.ListPodSandboxRequest{})
		for _, one := range answer.GetItems() {
			ids = append(ids, one.Id)
		}
		return ids, err
	}
	answer, err := c.runtime.ListContainers(c, &cri.ListContainersRequest{})
	for _, one := range answer.GetContainers() {
		ids = append(ids, one.Id)
	}
	return ids, err
}
