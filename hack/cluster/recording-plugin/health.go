package main

import (
	"sync"
	"time"

	"google.golang.org/grpc"
	draHealth "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
)

// deviceHealth is one line of a health list.
type deviceHealth struct {
	Pool   string `json:"pool"`
	Device string `json:"device"`
	// Health is HEALTHY, UNHEALTHY or UNKNOWN.
	Health         string `json:"health"`
	Message        string `json:"message"`
	TimeoutSeconds int64  `json:"timeoutSeconds"`
}

// watchers is the health list and those who wait for it.
type watchers struct {
	mutex  sync.Mutex
	latest []deviceHealth
	wake   []chan struct{}
}

// push replaces the list and wakes everyone.
func (w *watchers) push(list []deviceHealth) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.latest = list
	for _, wake := range w.wake {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// join adds someone to wake.
func (w *watchers) join() chan struct{} {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	wake := make(chan struct{}, 1)
	w.wake = append(w.wake, wake)
	return wake
}

func (w *watchers) list() []deviceHealth {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.latest
}

// healthServer sends the list at the start of a stream and whenever it is replaced.
type healthServer struct {
	draHealth.UnimplementedDRAResourceHealthServer
	watchers *watchers
}

// NodeWatchResources runs until the kubelet goes.
func (h *healthServer) NodeWatchResources(_ *draHealth.NodeWatchResourcesRequest, stream grpc.ServerStreamingServer[draHealth.NodeWatchResourcesResponse]) error {
	wake := h.watchers.join()
	for {
		if list := h.watchers.list(); len(list) > 0 {
			if err := stream.Send(asResponse(list)); err != nil {
				return err
			}
		}
		select {
		case <-wake:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func asResponse(list []deviceHealth) *draHealth.NodeWatchResourcesResponse {
	response := &draHealth.NodeWatchResourcesResponse{}
	for _, d := range list {
		response.Devices = append(response.Devices, &draHealth.DeviceHealth{
			Device:                    &draHealth.DeviceIdentifier{PoolName: d.Pool, DeviceName: d.Device},
			Health:                    draHealth.HealthStatus(draHealth.HealthStatus_value[d.Health]),
			LastUpdatedTime:           time.Now().Unix(),
			HealthCheckTimeoutSeconds: d.TimeoutSeconds,
			Message:                   d.Message,
		})
	}
	return response
}
