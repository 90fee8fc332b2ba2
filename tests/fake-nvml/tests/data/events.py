"""Listens to the GPUs and event types of its arguments and prints each event as a line of JSON.

Ends with a time-out of the given milliseconds or with the loss of a GPU: then the error's name is its last line.
"""

import ctypes
import json
import sys

import pynvml


def number(device):
    """The handle itself: a lost GPU is not asked who it is."""
    return ctypes.cast(device, ctypes.c_void_p).value


mask, milliseconds, *indexes = (int(argument, 0) for argument in sys.argv[1:])

pynvml.nvmlInit()
events = pynvml.nvmlEventSetCreate()
indexes_by_handle = {}
for index in indexes:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    pynvml.nvmlDeviceRegisterEvents(device, mask, events)
    indexes_by_handle[number(device)] = index
while True:
    try:
        event = pynvml.nvmlEventSetWait_v2(events, milliseconds)
    except pynvml.NVMLError as error:
        print(json.dumps(type(error).__name__), flush=True)
        break
    index = indexes_by_handle[number(event.device)]
    instance = [event.gpuInstanceId, event.computeInstanceId]
    print(json.dumps([index, event.eventType, event.eventData, instance]), flush=True)
pynvml.nvmlEventSetFree(events)
pynvml.nvmlShutdown()
