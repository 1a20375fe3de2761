package naivetest

import "bytes"

// Kinds of keys, and the role of those who read and submit but are never drawn.
const (
	kindNode     = 1
	kindUser     = 2
	roleObserver = 3
)

// checkCredentials wants those of submitter, owner and every signer, each once,
// by ascending subject, and no others.
func checkCredentials(net network, c charter, signers [][]byte, credentials []any) {
	isSigner := map[string]bool{string(c.submitter): false, string(c.owner): false}
	for _, key := range signers {
		isSigner[string(key)] = true
	}
	require(len(credentials) == len(isSigner), "a credential for each")
	var last []byte
	for i, signed := range credentials {
		body := checkCredential(net, signed)
		subject := octets(body["subject"], 32)
		require(i == 0 || bytes.Compare(last, subject) < 0, "by ascending subject, none twice")
		last = subject

		votes, has := isSigner[string(subject)]
		require(has, "of somebody who has a part in it")
		from, until := date(body["from"]), date(body["until"])
		require(from <= c.issued && c.issued < until, "valid when the job was issued")
		if votes {
			require(number(body["kind"]) == kindNode && number(body["role"]) != roleObserver, "a signer is a node that votes")
			require(c.end <= until, "a signer's is valid to the end")
		}
	}
}

// checkCredential checks form, issuer and signature (section 2). There is no
// place for a delegation in version 1: only authorities of the genesis issue.
func checkCredential(net network, signed any) map[string]any {
	require(len(encode(signed)) <= 512, "at most 512 bytes")
	pair := list(signed, 2)
	body := dict(pair[0], "v", "kind", "subject", "role", "owner", "weight", "features", "from", "until", "issuer")
	require(number(body["v"]) == 1, "v is known")
	require(number(body["kind"]) == kindNode || number(body["kind"]) == kindUser, "the kind is known")
	require(number(body["role"]) >= 1 && number(body["role"]) <= 3, "the role is known")
	require(number(body["weight"]) <= 1<<20, "weight of at most 2^20")
	require(date(body["from"]) < date(body["until"]), "it begins before it ends")
	features := anyList(body["features"])
	require(len(features) <= 16, "at most 16 features")
	for i, f := range features {
		feature := text(f)
		require(i == 0 || text(features[i-1]) < feature, "features are sorted, none twice")
	}
	notSmall(octets(body["subject"], 32))
	notSmall(octets(body["owner"], 32))
	issuer := octets(body["issuer"], 32)
	require(net.authority(issuer), "issued by an authority of the genesis")
	require(verified(issuer, net.seal("muster/credential/1", body), octets(pair[1], 64)), "signed by its issuer")
	return body
}
