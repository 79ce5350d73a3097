package server

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// sniffedCredentials tell gRPC what the sniffer found out: its connections have their TLS handshake behind them.
type sniffedCredentials struct{}

func (sniffedCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	sniffed, ok := conn.(*sniffedConn)
	if !ok || sniffed.secure == nil {
		return insecure.NewCredentials().ServerHandshake(conn)
	}
	return conn, credentials.TLSInfo{
		State:          sniffed.secure.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

func (sniffedCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("server: these credentials are a server's")
}

func (sniffedCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c sniffedCredentials) Clone() credentials.TransportCredentials { return c }

func (sniffedCredentials) OverrideServerName(string) error { return nil }
