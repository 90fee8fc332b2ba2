package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	draHealth "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
	dra "k8s.io/kubelet/pkg/apis/dra/v1"
	draBeta "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// plugin is the servers of one plugin.
type plugin struct {
	dra.UnimplementedDRAPluginServer
	settings    settings
	script      *script
	record      *transcript
	watchers    *watchers
	connections *connections

	mutex      sync.Mutex
	service    *grpc.Server
	registrars []*grpc.Server
	stopped    bool
}

func newPlugin(s settings, record *transcript) *plugin {
	return &plugin{
		settings:    s,
		script:      newScript(s.Rules),
		record:      record,
		watchers:    &watchers{latest: s.Health},
		connections: &connections{},
	}
}

// serve opens the plugin's own socket and then those of the registry, in this order, so that nobody who finds the
// plugin registered finds it deaf.
func (p *plugin) serve() error {
	p.service = p.newServer()
	for _, service := range p.settings.Services {
		switch service {
		case "v1":
			dra.RegisterDRAPluginServer(p.service, p)
		case "v1beta1":
			draBeta.RegisterDRAPluginServer(p.service, draBeta.V1ServerWrapper{DRAPluginServer: p})
		case "health.v1alpha1":
			draHealth.RegisterDRAResourceHealthServer(p.service, &healthServer{watchers: p.watchers})
		case "health.v1":
			// The same messages under another name; the kubelet of 1.37 asks for this one.
			description := draHealth.DRAResourceHealth_ServiceDesc
			description.ServiceName = "v1.DRAResourceHealth"
			p.service.RegisterService(&description, &healthServer{watchers: p.watchers})
		default:
			return fmt.Errorf("unknown service %q: say v1, v1beta1, health.v1alpha1 or health.v1", service)
		}
	}
	if err := p.listen(p.service, p.settings.PluginSocket); err != nil {
		return err
	}
	return p.register()
}

// register opens the sockets in the registry.
func (p *plugin) register() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, path := range p.settings.RegistrySockets {
		server := p.newServer()
		registration.RegisterRegistrationServer(server, &registrar{plugin: p})
		if err := p.listen(server, path); err != nil {
			return err
		}
		p.registrars = append(p.registrars, server)
	}
	return nil
}

// unregister closes the sockets in the registry, which removes them.
func (p *plugin) unregister() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, server := range p.registrars {
		server.Stop()
	}
	p.registrars = nil
}

// stop ends the registration first and then the service.
func (p *plugin) stop() {
	p.unregister()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if !p.stopped {
		p.service.Stop()
		p.stopped = true
	}
}

func (p *plugin) newServer() *grpc.Server {
	return grpc.NewServer(
		grpc.UnaryInterceptor(p.record.unary),
		// Calls that a stop cuts off are recorded, too.
		grpc.WaitForHandlers(true),
		grpc.StreamInterceptor(p.record.stream),
		grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(ss)
			return status.Errorf(codes.Unimplemented, "%s is not served", method)
		}),
	)
}

// listen serves on a socket.
func (p *plugin) listen(server *grpc.Server, path string) error {
	if err := freshSocket(path); err != nil {
		return fmt.Errorf("make room for the socket %s: %w", path, err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	go func() {
		err := server.Serve(&trackingListener{Listener: listener, connections: p.connections})
		if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			fmt.Fprintln(os.Stderr, "recording-plugin: serve on", path+":", err)
		}
	}()
	return nil
}

// registrar answers the kubelet's plugin watcher.
type registrar struct {
	registration.UnimplementedRegistrationServer
	plugin *plugin
}

// GetInfo tells what the settings say.
func (r *registrar) GetInfo(ctx context.Context, _ *registration.InfoRequest) (*registration.PluginInfo, error) {
	if _, err := r.plugin.script.use(ctx, "GetInfo", ""); err != nil {
		return nil, err
	}
	s := r.plugin.settings
	return &registration.PluginInfo{Type: s.Type, Name: s.Driver, Endpoint: s.Endpoint, SupportedVersions: s.Versions}, nil
}

// NotifyRegistrationStatus only records.
func (r *registrar) NotifyRegistrationStatus(ctx context.Context, _ *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if _, err := r.plugin.script.use(ctx, "NotifyRegistrationStatus", ""); err != nil {
		return nil, err
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// NodePrepareResources answers claim by claim as the script says.
func (p *plugin) NodePrepareResources(ctx context.Context, req *dra.NodePrepareResourcesRequest) (*dra.NodePrepareResourcesResponse, error) {
	answer := &dra.NodePrepareResourcesResponse{Claims: map[string]*dra.NodePrepareResourceResponse{}}
	for _, claim := range req.Claims {
		r, err := p.script.use(ctx, "NodePrepareResources", claim.Name)
		if err != nil {
			return nil, err
		}
		switch {
		case r == nil:
			answer.Claims[claim.Uid] = &dra.NodePrepareResourceResponse{Error: "no rule for the claim " + claim.Name}
		case r.Omit:
		case r.Error != "":
			answer.Claims[claim.Uid] = &dra.NodePrepareResourceResponse{Error: r.Error}
		default:
			if err := p.writeSpec(claim.Uid, r.Devices); err != nil {
				answer.Claims[claim.Uid] = &dra.NodePrepareResourceResponse{Error: err.Error()}
				continue
			}
			prepared := &dra.NodePrepareResourceResponse{}
			for _, d := range r.Devices {
				prepared.Devices = append(prepared.Devices, &dra.Device{
					RequestNames: d.Requests, PoolName: d.Pool, DeviceName: d.Device, CdiDeviceIds: d.CDI,
				})
			}
			answer.Claims[claim.Uid] = prepared
		}
	}
	return answer, nil
}

// NodeUnprepareResources succeeds where the script says nothing else.
func (p *plugin) NodeUnprepareResources(ctx context.Context, req *dra.NodeUnprepareResourcesRequest) (*dra.NodeUnprepareResourcesResponse, error) {
	answer := &dra.NodeUnprepareResourcesResponse{Claims: map[string]*dra.NodeUnprepareResourceResponse{}}
	for _, claim := range req.Claims {
		r, err := p.script.use(ctx, "NodeUnprepareResources", claim.Name)
		if err != nil {
			return nil, err
		}
		if r != nil && r.Omit {
			continue
		}
		result := &dra.NodeUnprepareResourceResponse{}
		if r != nil {
			result.Error = r.Error
		}
		if result.Error == "" {
			if err := p.removeSpec(claim.Uid); err != nil {
				result.Error = err.Error()
			}
		}
		answer.Claims[claim.Uid] = result
	}
	return answer, nil
}
