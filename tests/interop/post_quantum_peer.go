// SPDX-License-Identifier: Apache-2.0
//
// Go's crypto/tls and crypto/x509 as a peer: a client, a server, and a CA.
//
//	post_quantum_peer client ADDRESS CHAIN KEY ROOTS GROUPS   one call, says what it saw as JSON
//	post_quantum_peer server CHAIN KEY ROOTS GROUPS           serves until it is killed, echoes
//	post_quantum_peer mint FOLDER KIND ID                     roots.pem, crl.pem, leaf.pem, leaf.key, leaf.csr
//	post_quantum_peer check ROOTS CHAIN [CRL]                 whether Go takes what somebody else made
//
// GROUPS are numbers with commas between, in the order of preference; "-": Go's own.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/mldsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func blocks(path string) [][]byte {
	var out [][]byte
	rest := must(os.ReadFile(path))
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return out
		}
		out = append(out, block.Bytes)
	}
}

func certs(path string) []*x509.Certificate {
	var out []*x509.Certificate
	for _, der := range blocks(path) {
		out = append(out, must(x509.ParseCertificate(der)))
	}
	return out
}

func verify(roots string, chain []*x509.Certificate) error {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, root := range certs(roots) {
		options.Roots.AddCert(root)
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(options)
	return err
}

// A configuration for either role. The chain proves the peer, whose name is a SPIFFE id.
func config(chain, key, roots, groups string) *tls.Config {
	out := &tls.Config{
		Certificates:       []tls.Certificate{must(tls.LoadX509KeyPair(chain, key))},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS13,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verify(roots, state.PeerCertificates)
		},
	}
	if groups != "-" {
		for _, text := range strings.Split(groups, ",") {
			out.CurvePreferences = append(out.CurvePreferences, tls.CurveID(must(strconv.Atoi(text))))
		}
	}
	return out
}

type seen struct {
	Group     string
	Retried   bool
	Key       string
	ID        string
	Signature string
	Answer    string
}

func look(state tls.ConnectionState) seen {
	leaf := state.PeerCertificates[0]
	return seen{Group: state.CurveID.String(), Retried: state.HelloRetryRequest, Key: leaf.PublicKeyAlgorithm.String(),
		Signature: leaf.SignatureAlgorithm.String(), ID: leaf.URIs[0].String()}
}

func client(address, chain, key, roots, groups string) {
	conn := must(tls.Dial("tcp", address, config(chain, key, roots, groups)))
	must(conn.Write([]byte("hello")))
	out := look(conn.ConnectionState())
	answer := make([]byte, 5)
	must(io.ReadFull(conn, answer))
	out.Answer = string(answer)
	conn.Close()
	fmt.Println(string(must(json.Marshal(out))))
}

func serve(conn *tls.Conn) {
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		fmt.Printf("{\"Error\": %q}\n", err)
		return
	}
	fmt.Println(string(must(json.Marshal(look(conn.ConnectionState())))))
	io.Copy(conn, conn)
}

func server(chain, key, roots, groups string) {
	listener := must(tls.Listen("tcp", "127.0.0.1:0", config(chain, key, roots, groups)))
	fmt.Println(listener.Addr())
	for {
		go serve(must(listener.Accept()).(*tls.Conn))
	}
}

func newKey(kind string) crypto.Signer {
	switch kind {
	case "p256":
		return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	case "ml-dsa-44":
		return must(mldsa.GenerateKey(mldsa.MLDSA44()))
	case "ml-dsa-65":
		return must(mldsa.GenerateKey(mldsa.MLDSA65()))
	}
	log.Fatal(kind, " is no kind of key")
	return nil
}

func write(folder, name, kind string, der []byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
		log.Fatal(err)
	}
}

func mint(folder, kind, id string) {
	now := time.Now()
	of := must(url.Parse(id))
	rootKey, key := newKey(kind), newKey(kind)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Go's"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	rootDER := must(x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey))
	signer := must(x509.ParseCertificate(rootDER))
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), URIs: []*url.URL{of},
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	write(folder, "roots.pem", "CERTIFICATE", rootDER)
	write(folder, "leaf.pem", "CERTIFICATE", must(x509.CreateCertificate(rand.Reader, leaf, signer, key.Public(), rootKey)))
	write(folder, "leaf.key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	write(folder, "leaf.csr", "CERTIFICATE REQUEST", must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{of}}, key)))
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: leaf.SerialNumber, RevocationTime: now.Add(-time.Minute)}}}
	write(folder, "crl.pem", "X509 CRL", must(x509.CreateRevocationList(rand.Reader, list, signer, rootKey)))
}

func check(roots, chain string, crls []string) error {
	if err := verify(roots, certs(chain)); err != nil {
		return err
	}
	for _, path := range crls {
		list := must(x509.ParseRevocationList(blocks(path)[0]))
		if err := list.CheckSignatureFrom(certs(roots)[0]); err != nil {
			return err
		}
		if len(list.RevokedCertificateEntries) == 0 {
			return errors.New("nothing is revoked in it")
		}
	}
	return nil
}

func main() {
	log.SetFlags(0)
	switch a := os.Args[1:]; a[0] {
	case "client":
		client(a[1], a[2], a[3], a[4], a[5])
	case "server":
		server(a[1], a[2], a[3], a[4])
	case "mint":
		mint(a[1], a[2], a[3])
	case "check":
		if err := check(a[1], a[2], a[3:]); err != nil {
			log.Fatal(err)
		}
	}
}
