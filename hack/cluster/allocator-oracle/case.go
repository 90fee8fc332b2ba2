package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/structured"
	kjson "sigs.k8s.io/json"
)

// testCase is one line of standard input: what the scheduler knows when it asks for an allocation.
type testCase struct {
	// ID is echoed.
	ID json.RawMessage `json:"id"`
	// Features are a list of names or an object of booleans; absent, those of a cluster of 1.36.
	Features json.RawMessage              `json:"features"`
	Classes  []*resourceapi.DeviceClass   `json:"classes"`
	Slices   []*resourceapi.ResourceSlice `json:"slices"`
	Claims   []*resourceapi.ResourceClaim `json:"claims"`
	Node     *v1.Node                     `json:"node"`

	AllocatedDevices       []device   `json:"allocatedDevices"`
	AllocatedSharedDevices []share    `json:"allocatedSharedDevices"`
	ConsumedCapacity       []consumed `json:"consumedCapacity"`

	// Repeat asks for so many measurements instead of one.
	Repeat int `json:"repeat"`
}

// device names a device: an object, or a string whose first and last segments are driver and device.
type device struct {
	Driver string `json:"driver"`
	Pool   string `json:"pool"`
	Device string `json:"device"`
}

func (d *device) UnmarshalJSON(text []byte) error {
	var path string
	if json.Unmarshal(text, &path) != nil {
		type plain device
		return json.Unmarshal(text, (*plain)(d))
	}
	first, last := strings.Index(path, "/"), strings.LastIndex(path, "/")
	if first == last {
		return fmt.Errorf("the device %q is not driver/pool/device", path)
	}
	*d = device{Driver: path[:first], Pool: path[first+1 : last], Device: path[last+1:]}
	return nil
}

func (d device) id() structured.DeviceID {
	return structured.MakeDeviceID(d.Driver, d.Pool, d.Device)
}

// share is one allocation of a device that allows several.
type share struct {
	Driver  string    `json:"driver"`
	Pool    string    `json:"pool"`
	Device  string    `json:"device"`
	ShareID types.UID `json:"shareID"`
}

// consumed is what is taken from one device by all its shares.
type consumed struct {
	Driver   string                                          `json:"driver"`
	Pool     string                                          `json:"pool"`
	Device   string                                          `json:"device"`
	Capacity map[resourceapi.QualifiedName]resource.Quantity `json:"capacity"`
}

// decode reads a case as the API server reads objects: names of fields are case-sensitive.
func decode(line []byte, into *testCase) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(line, into)
}

func (c *testCase) features() (structured.Features, error) {
	var enabled structured.Features
	byName := map[string]*bool{
		"AdminAccess":            &enabled.AdminAccess,
		"ConsumableCapacity":     &enabled.ConsumableCapacity,
		"DeviceBinding":          &enabled.DeviceBindingAndStatus,
		"DeviceBindingAndStatus": &enabled.DeviceBindingAndStatus,
		"DeviceTaints":           &enabled.DeviceTaints,
		"ListTypeAttributes":     &enabled.ListTypeAttributes,
		"PartitionableDevices":   &enabled.PartitionableDevices,
		"PrioritizedList":        &enabled.PrioritizedList,
	}
	if len(c.Features) == 0 || string(c.Features) == "null" {
		for name, feature := range byName {
			*feature = name != "ListTypeAttributes"
		}
		return enabled, nil
	}
	var switches map[string]bool
	var names []string
	if json.Unmarshal(c.Features, &names) == nil {
		switches = make(map[string]bool, len(names))
		for _, name := range names {
			switches[name] = true
		}
	} else if json.Unmarshal(c.Features, &switches) != nil {
		return enabled, errors.New("features is neither a list of names nor an object of booleans")
	}
	for name, on := range switches {
		feature, known := byName[name]
		if !known {
			return enabled, fmt.Errorf("features: %q is unknown", name)
		}
		*feature = on
	}
	return enabled, nil
}

func (c *testCase) state() structured.AllocatedState {
	state := structured.AllocatedState{
		AllocatedDevices:         sets.New[structured.DeviceID](),
		AllocatedSharedDeviceIDs: sets.New[structured.SharedDeviceID](),
		AggregatedCapacity:       structured.NewConsumedCapacityCollection(),
	}
	for _, allocated := range c.AllocatedDevices {
		state.AllocatedDevices.Insert(allocated.id())
	}
	for _, allocated := range c.AllocatedSharedDevices {
		id := structured.MakeDeviceID(allocated.Driver, allocated.Pool, allocated.Device)
		state.AllocatedSharedDeviceIDs.Insert(structured.MakeSharedDeviceID(id, &allocated.ShareID))
	}
	for _, taken := range c.ConsumedCapacity {
		id := structured.MakeDeviceID(taken.Driver, taken.Pool, taken.Device)
		state.AggregatedCapacity.Insert(structured.NewDeviceConsumedCapacity(id, taken.Capacity))
	}
	return state
}

// classes are the case's device classes, as a lister gives them.
type classes []*resourceapi.DeviceClass

func (all classes) List() ([]*resourceapi.DeviceClass, error) {
	return all, nil
}

func (all classes) Get(name string) (*resourceapi.DeviceClass, error) {
	found := slices.IndexFunc(all, func(class *resourceapi.DeviceClass) bool { return class.Name == name })
	if found < 0 {
		return nil, fmt.Errorf("deviceclass.resource.k8s.io %q not found", name)
	}
	return all[found], nil
}
