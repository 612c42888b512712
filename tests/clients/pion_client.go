// Clients made of pion (Debian's golang-github-pion-*-dev), for tests/e2e/turn_pion_test.py.
//
//	pion_client turn udp|tcp|tls|dtls HOST PORT PEER_PORT USER PASSWORD
//	pion_client ice  udp|tcp|tls|dtls HOST PORT USER PASSWORD
//
// turn: one allocation; what it sends to the peer on HOST comes back. ice: two agents that may use
// only their relayed candidates; one echoes what the other sends. Each ends with 0 when all came
// back unchanged.
//
// SPDX-License-Identifier: BSD-3-Clause
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/pion/ice/v2"
	"github.com/pion/turn/v2"
)

const (
	messages  = 200
	stepBytes = 6
	deadline  = 30 * time.Second
	// On streams pion 2.1 does not look at what it got before it has nine bytes, so that ChannelData
	// with one to four bytes of payload waits for the next message.
	smallestBytes = 5
)

// Gives each datagram of a DTLS connection as it came; pion's TURN client wants a PacketConn.
type packetConn struct {
	net.Conn
}

func (c packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	return n, c.RemoteAddr(), err
}

func (c packetConn) WriteTo(p []byte, _ net.Addr) (int, error) {
	return c.Write(p)
}

func try(what string, err error) {
	if err != nil {
		fmt.Printf("%s: %v\n", what, err)
		os.Exit(1)
	}
}

func connect(transport, server string) net.PacketConn {
	switch transport {
	case "udp":
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		try("udp", err)
		return c
	case "tcp":
		c, err := net.Dial("tcp4", server)
		try("tcp", err)
		return turn.NewSTUNConn(c)
	case "tls":
		c, err := tls.Dial("tcp4", server, &tls.Config{InsecureSkipVerify: true})
		try("tls", err)
		return turn.NewSTUNConn(c)
	default:
		addr, err := net.ResolveUDPAddr("udp4", server)
		try("address", err)
		c, err := dtls.Dial("udp4", addr, &dtls.Config{InsecureSkipVerify: true})
		try("dtls", err)
		return packetConn{c}
	}
}

func text(i int) []byte {
	return bytes.Repeat([]byte{byte(i)}, smallestBytes+i*stepBytes)
}

// Sends all messages, one after the other, and takes each back.
func echoes(send func([]byte) error, receive func([]byte) (int, error)) {
	got := make([]byte, 2048)
	for i := 0; i < messages; i++ {
		try("send", send(text(i)))
		n, err := receive(got)
		try("receive", err)
		if !bytes.Equal(got[:n], text(i)) {
			try("echo", fmt.Errorf("message %d came back as %d bytes", i, n))
		}
	}
	fmt.Printf("%d messages came back\n", messages)
}

func runTurn(transport, server, host, peerPort, user, password string) {
	conn := connect(transport, server)
	defer conn.Close()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server, Conn: conn, Username: user,
		Password: password, RTO: time.Second})
	try("client", err)
	defer client.Close()
	try("listen", client.Listen())
	mapped, err := client.SendBindingRequest()
	try("binding", err)
	relayed, err := client.Allocate()
	try("allocate", err)
	fmt.Printf("mapped %s, relayed %s\n", mapped, relayed.LocalAddr())
	peer, err := net.ResolveUDPAddr("udp4", net.JoinHostPort(host, peerPort))
	try("peer", err)
	try("permission", client.CreatePermission(peer))
	try("deadline", relayed.SetReadDeadline(time.Now().Add(deadline)))
	echoes(func(p []byte) error {
		_, err := relayed.WriteTo(p, peer)
		return err
	}, func(p []byte) (int, error) {
		n, from, err := relayed.ReadFrom(p)
		if err == nil && from.String() != peer.String() {
			err = fmt.Errorf("data from %s", from)
		}
		return n, err
	})
	try("release", relayed.Close())
}

func newAgent(transport, host, port, user, password string, gathered chan<- struct{}) *ice.Agent {
	scheme := map[string]string{"udp": "turn", "tcp": "turn", "tls": "turns", "dtls": "turns"}[transport]
	proto := map[string]string{"udp": "udp", "tcp": "tcp", "tls": "tcp", "dtls": "udp"}[transport]
	url, err := ice.ParseURL(fmt.Sprintf("%s:%s:%s?transport=%s", scheme, host, port, proto))
	try("url", err)
	atOnce := time.Duration(0)
	url.Username, url.Password = user, password
	a, err := ice.NewAgent(&ice.AgentConfig{
		Urls: []*ice.URL{url}, NetworkTypes: []ice.NetworkType{ice.NetworkTypeUDP4},
		CandidateTypes: []ice.CandidateType{ice.CandidateTypeRelay}, InsecureSkipVerify: true,
		RelayAcceptanceMinWait: &atOnce, MulticastDNSMode: ice.MulticastDNSModeDisabled})
	try("agent", err)
	try("candidates", a.OnCandidate(func(c ice.Candidate) {
		if c == nil {
			gathered <- struct{}{}
		}
	}))
	try("gather", a.GatherCandidates())
	return a
}

func introduce(to, whom *ice.Agent) (ufrag, password string) {
	candidates, err := whom.GetLocalCandidates()
	try("local candidates", err)
	if len(candidates) == 0 {
		try("local candidates", fmt.Errorf("none"))
	}
	for _, c := range candidates {
		try("remote candidate", to.AddRemoteCandidate(c))
	}
	ufrag, password, err = whom.GetLocalUserCredentials()
	try("credentials", err)
	return ufrag, password
}

func runICE(transport, host, port, user, password string) {
	gathered := make(chan struct{}, 2)
	a := newAgent(transport, host, port, user, password, gathered)
	b := newAgent(transport, host, port, user, password, gathered)
	<-gathered
	<-gathered
	ufragB, passwordB := introduce(a, b)
	ufragA, passwordA := introduce(b, a)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	accepted := make(chan *ice.Conn)
	go func() {
		c, err := b.Accept(ctx, ufragA, passwordA)
		try("accept", err)
		accepted <- c
	}()
	here, err := a.Dial(ctx, ufragB, passwordB)
	try("dial", err)
	there := <-accepted
	go func() {
		p := make([]byte, 2048)
		for {
			n, err := there.Read(p)
			if err != nil {
				return
			}
			if _, err = there.Write(p[:n]); err != nil {
				return
			}
		}
	}()
	echoes(func(p []byte) error {
		_, err := here.Write(p)
		return err
	}, here.Read)
	pair, err := a.GetSelectedCandidatePair()
	try("pair", err)
	fmt.Printf("pair: %s %s\n", pair.Local.Type(), pair.Remote.Type())
	try("close", a.Close())
	try("close", b.Close())
}

func main() {
	a := os.Args[1:]
	time.AfterFunc(deadline, func() { try("deadline", fmt.Errorf("not done in %s", deadline)) })
	switch {
	case len(a) == 7 && a[0] == "turn":
		runTurn(a[1], net.JoinHostPort(a[2], a[3]), a[2], a[4], a[5], a[6])
	case len(a) == 6 && a[0] == "ice":
		runICE(a[1], a[2], a[3], a[4], a[5])
	default:
		os.Exit(64)
	}
}
