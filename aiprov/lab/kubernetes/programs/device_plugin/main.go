// Stand-in of aiprov's lab: a device plugin that offers the simulated GPUs of a node.
//
// Every /dev/nvidiaN of the node is a resource nvidia.com/gpu, and a pod that asks for some is
// given these nodes. There is nothing of a GPU behind them. It runs as a DaemonSet's pod with the
// node's /dev at -dev and kubelet's folder of device plugins at its own path.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"time"

	"google.golang.org/grpc"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const resource = "nvidia.com/gpu"

var (
	dev    = flag.String("dev", "/dev", "where the node's /dev is")
	folder = flag.String("folder", api.DevicePluginPath, "kubelet's folder of device plugins")
	number = regexp.MustCompile(`^nvidia(\d+)$`)
)

// found names the GPUs of the node: nvidia0, nvidia1 ...
func found() []string {
	names := []string{}
	entries, _ := os.ReadDir(*dev)
	for _, entry := range entries {
		if number.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	sort.Strings(names)
	return names
}

type plugin struct{}

func (plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

func (plugin) GetPreferredAllocation(context.Context, *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	return &api.PreferredAllocationResponse{}, nil
}

func (plugin) PreStartContainer(context.Context, *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	return &api.PreStartContainerResponse{}, nil
}

// ListAndWatch tells the GPUs at once, and again whenever they differ: a GPU that is gone is gone.
func (plugin) ListAndWatch(_ *api.Empty, out api.DevicePlugin_ListAndWatchServer) error {
	var told []string
	for {
		if now := found(); told == nil || !reflect.DeepEqual(now, told) {
			devices := []*api.Device{}
			for _, name := range now {
				devices = append(devices, &api.Device{ID: name, Health: api.Healthy})
			}
			if err := out.Send(&api.ListAndWatchResponse{Devices: devices}); err != nil {
				return err
			}
			fmt.Println("offering", now)
			told = now
		}
		select {
		case <-out.Context().Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// Allocate gives a container the nodes of its GPUs, and says which they are.
func (plugin) Allocate(_ context.Context, asked *api.AllocateRequest) (*api.AllocateResponse, error) {
	answer := &api.AllocateResponse{}
	for _, one := range asked.ContainerRequests {
		given := &api.ContainerAllocateResponse{Envs: map[string]string{}}
		visible := ""
		for _, id := range one.DevicesIDs {
			path := "/dev/" + id
			given.Devices = append(given.Devices, &api.DeviceSpec{ContainerPath: path, HostPath: path, Permissions: "rw"})
			if visible != "" {
				visible += ","
			}
			visible += number.FindStringSubmatch(id)[1]
		}
		given.Envs["NVIDIA_VISIBLE_DEVICES"] = visible
		answer.ContainerResponses = append(answer.ContainerResponses, given)
	}
	return answer, nil
}

// serve offers the GPUs until kubelet has begun anew, which removes the plugins' sockets.
func serve() error {
	own := filepath.Join(*folder, "aiprov-lab-gpu.sock")
	os.Remove(own)
	listener, err := net.Listen("unix", own)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	defer server.Stop()
	api.RegisterDevicePluginServer(server, plugin{})
	go server.Serve(listener)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dial := func(ctx context.Context, path string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	kubelet := filepath.Join(*folder, "kubelet.sock")
	connection, err := grpc.DialContext(ctx, kubelet, grpc.WithInsecure(), grpc.WithBlock(), grpc.WithContextDialer(dial))
	if err != nil {
		return err
	}
	defer connection.Close()
	request := &api.RegisterRequest{Version: api.Version, Endpoint: filepath.Base(own), ResourceName: resource}
	if _, err := api.NewRegistrationClient(connection).Register(ctx, request); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(own); err != nil {
			return nil
		}
		time.Sleep(time.Second)
	}
}

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "Stand-in of aiprov's lab: offers /dev/nvidiaN to kubelet as "+resource)
		flag.PrintDefaults()
	}
	flag.Parse()
	for {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(time.Second)
		}
	}
}
