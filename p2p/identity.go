package p2p

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/muster-network/muster/consensus/admission"
	"github.com/muster-network/muster/store/file"
)

// Identity is a node's Ed25519 key, as the protocol and as libp2p want it.
type Identity struct {
	Signer  admission.KeySigner
	Private crypto.PrivKey
	Peer    peer.ID
}

// pemType is the block that an identity file holds: an unencrypted PKCS #8 key.
const pemType = "PRIVATE KEY"

// NewIdentity makes an identity in memory.
func NewIdentity() (Identity, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("make a key: %w", err)
	}
	return identityOf(private)
}

// OpenIdentity reads the identity file at path, and makes it, with mode 0600,
// when there is none. A file that others may read is refused: whoever holds the
// key votes as this node.
func OpenIdentity(path string) (Identity, error) {
	id, err := LoadIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if id, err = NewIdentity(); err != nil {
		return Identity{}, err
	}
	if err := writeIdentity(path, id); err != nil && !errors.Is(err, fs.ErrExist) {
		return Identity{}, fmt.Errorf("write identity: %w", err)
	}
	return LoadIdentity(path) // another process may have been first
}

// LoadIdentity reads the identity file at path. The error is fs.ErrNotExist
// when there is none.
func LoadIdentity(path string) (Identity, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Identity{}, fmt.Errorf("identity: %s is not a file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Identity{}, fmt.Errorf("identity: %s has mode %04o, others may use it; want 0600", path, mode)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(rest) != 0 {
		return Identity{}, fmt.Errorf("identity: %s holds no %s", path, pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %s: %w", path, err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Identity{}, fmt.Errorf("identity: %s is not an Ed25519 key", path)
	}
	return identityOf(private)
}

func identityOf(private ed25519.PrivateKey) (Identity, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(private)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	return Identity{Signer: admission.NewKeySigner(private), Private: key, Peer: id}, nil
}

// writeIdentity puts id at path, whole or not at all, and never over another.
func writeIdentity(path string, id Identity) error {
	raw, err := id.Private.Raw()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.PrivateKey(raw))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return file.Create(path, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), 0o600)
}
