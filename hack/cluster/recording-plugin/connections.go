package main

import (
	"net"
	"sync"
)

// connections is the open connections of all sockets.
type connections struct {
	mutex sync.Mutex
	open  map[net.Conn]struct{}
}

// drop closes all of them; the sockets stay, so that clients can come back.
func (c *connections) drop() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for connection := range c.open {
		connection.Close()
	}
	c.open = nil
}

// trackingListener notes the connections that it accepts.
type trackingListener struct {
	net.Listener
	connections *connections
}

// Accept notes the connection.
func (l *trackingListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &trackedConnection{Conn: connection, connections: l.connections}
	l.connections.mutex.Lock()
	defer l.connections.mutex.Unlock()
	if l.connections.open == nil {
		l.connections.open = map[net.Conn]struct{}{}
	}
	l.connections.open[connection] = struct{}{}
	return tracked, nil
}

// trackedConnection is forgotten when the server closes it.
type trackedConnection struct {
	net.Conn
	connections *connections
}

// Close forgets the connection.
func (t *trackedConnection) Close() error {
	t.connections.mutex.Lock()
	delete(t.connections.open, t.Conn)
	t.connections.mutex.Unlock()
	return t.Conn.Close()
}
