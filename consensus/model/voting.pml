/*
 * The rules by which a member votes at one height (docs/protocol.md, section 6;
 * consensus/bft/agreement.go). The three models include this file. What stands
 * for what, line by line, is in docs/model.md.
 *
 * Votes are sets that only grow. The network shows a member any part of them,
 * at any time or never: so a member may act whenever some part would let it.
 * The liar's votes stand in no set: each counts for every value, in every
 * round, from the beginning. There are no leaders: any value may be proposed to
 * anybody, as a lying leader could.
 *
 * Names in capitals that are tested with #ifdef are mutants: rules broken on
 * purpose. Each must be found out (consensus/model/check).
 */

#ifndef ROUNDS
#define ROUNDS 3
#endif
#ifndef VALUES
#define VALUES 2
#endif

#define LIARS  1                  /* f of n = 3f+1; see docs/model.md for n = 2f+1 */
#ifdef QUORUM_LESS_ONE
#define QUORUM 2
#else
#define QUORUM 3                  /* 2f+1 */
#endif

/*
 * The voting of one member at one height is one number x, so that members can
 * be put in order. From the lowest bit up: for each round the set of values it
 * said Prepare for, for each round the set it said Commit for, its round, its
 * lock, and whether it is away. 2 * ROUNDS * VALUES is at most 18.
 */
#define PREPARE 0
#define COMMIT  1
#define bit0(kind, r)       (((kind) * ROUNDS + (r)) * VALUES)
#define vote(kind, r, v)    (1 << (bit0(kind, r) + (v)))
#define says(x, kind, r, v) (((x) >> (bit0(kind, r) + (v))) & 1)
#define said(x, kind, r)    (((x) >> bit0(kind, r)) & ((1 << VALUES) - 1))
#define VOTES               ((1 << (2 * ROUNDS * VALUES)) - 1)

#define round(x)     (((x) >> 18) & 7)
#define NEXT         (1 << 18)
#define lock(x)      (((x) >> 21) & 7)      /* the round locked in, plus one; 0: none */
#define locked(x)    (((x) >> 24) & 3)      /* the value locked on */
#define onto(x, r, v) (((x) & ~(31 << 21)) | ((r) + 1) << 21 | (v) << 24)
#define AWAY         (1 << 26)              /* does not act at this height */

/*
 * votes(h, kind, r, v) is how many members of height h's roster speak for v,
 * the liar included. Each model defines it, and takeable(v): whether a member
 * may take v of its own accord.
 */
#define certified(h, r, v) (votes(h, PREPARE, r, v) >= QUORUM)
#define committed(h, r, v) (votes(h, COMMIT, r, v) >= QUORUM)
#if ROUNDS == 2
#define decided(h, v) (committed(h, 0, v) || committed(h, 1, v))
#elif ROUNDS == 3
#define decided(h, v) (committed(h, 0, v) || committed(h, 1, v) || committed(h, 2, v))
#else
#define decided(h, v) (committed(h, 0, v) || committed(h, 1, v) || committed(h, 2, v) || committed(h, 3, v))
#endif

/* A certificate of round r for v lets x prepare v: r is before x's round, and
 * not before its lock's. */
#ifdef ANY_CERTIFICATE
#define unlocks(x, h, r, v) ((r) < round(x) && certified(h, r, v))
#else
#define unlocks(x, h, r, v) ((r) < round(x) && lock(x) <= (r) + 1 && certified(h, r, v))
#endif
#if ROUNDS == 2
#define unlocked(x, h, v) unlocks(x, h, 0, v)
#elif ROUNDS == 3
#define unlocked(x, h, v) (unlocks(x, h, 0, v) || unlocks(x, h, 1, v))
#else
#define unlocked(x, h, v) (unlocks(x, h, 0, v) || unlocks(x, h, 1, v) || unlocks(x, h, 2, v))
#endif

#ifdef NO_LOCK
#define bound(x) 0
#else
#define bound(x) lock(x)
#endif
#ifdef PREPARE_TWICE
#define once(x, kind, r) 1
#else
#define once(x, kind, r) (said(x, kind, r) == 0)
#endif

#define mayPrepare(x, h, r, v) (!((x) & AWAY) && once(x, PREPARE, r) && \
	(!bound(x) && takeable(v) || lock(x) && locked(x) == (v) || unlocked(x, h, v)))
#define mayCommit(x, h, r, v) (!((x) & AWAY) && said(x, COMMIT, r) == 0 && certified(h, r, v))

/* What is asserted (docs/protocol.md, section 17): by each model I1, one
 * decision for each height, or I2, one outcome; held besides, here I4, that a
 * slot is used once, and I5, that locks only advance. A mutant has to break I1
 * or I2. */
#ifdef MUTANT
#define hold(claim) skip
#else
#define hold(claim) assert(claim)
#endif

inline prepare(x, r, v) {
	hold(said(x, PREPARE, r) == 0);
	x = x | vote(PREPARE, r, v)
}

/* Lock, and commit: in round r, on the certificate of round c. */
inline commit(x, r, c, v) {
	hold(said(x, COMMIT, r) == 0 && lock(x) <= c);
	if
	:: lock(x) <= c -> x = onto(x, c, v)
	:: else
	fi;
	x = x | vote(COMMIT, r, v)
}

/* What a member x of height h may do about the value v, in its round. */
#define voteFor(x, h, v) \
	:: d_step { mayPrepare(x, h, round(x), v) -> prepare(x, round(x), v); settle() } \
	:: d_step { mayCommit(x, h, round(x), v) -> commit(x, round(x), round(x), v); settle() } \
	commitLate(x, h, v) voteBehind(x, h, 0, v) voteBehind(x, h, 1, v)

/* It enters the next round when it likes: a jump is several such steps. */
#define enter(x) \
	:: d_step { !((x) & AWAY) && round(x) < ROUNDS - 1 -> x = x + NEXT; settle() }

#ifdef OLD_CERTIFICATE  /* commit on a certificate of an older round */
#define commitLate(x, h, v) commitOn(x, h, 0, v) commitOn(x, h, 1, v)
#define commitOn(x, h, c, v) \
	:: d_step { (c) < round(x) && said(x, COMMIT, round(x)) == 0 && certified(h, c, v) -> \
		commit(x, round(x), c, v); settle() }
#else
#define commitLate(x, h, v)
#endif
#ifdef OLD_ROUND        /* vote in an earlier round after a round change */
#define voteBehind(x, h, r, v) \
	:: d_step { (r) < round(x) && mayPrepare(x, h, r, v) -> prepare(x, r, v); settle() } \
	:: d_step { (r) < round(x) && mayCommit(x, h, r, v) -> commit(x, r, r, v); settle() }
#else
#define voteBehind(x, h, r, v)
#endif

#define swap(a, b) a = a ^ b; b = a ^ b; a = a ^ b
