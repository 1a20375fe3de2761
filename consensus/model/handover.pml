/*
 * Two heights: n = 4, and height 0 may decide that a reserve takes a member's
 * place at height 1 (docs/protocol.md, section 7).
 *
 * Members a, b, c are correct. At height 0 the fourth lies. Who leaves is the
 * fourth, and its successor lies, too; or, with CORRECT_LEAVES, c leaves, the
 * fourth stays, and the successor is correct. So each roster has one fault,
 * and in the first case those who left go on lying.
 */
#define VALUES 3
#ifndef ROUNDS
#define ROUNDS 2                  /* at each height */
#endif
#include "voting.pml"

#define RESULT    0
#define CANCELLED 1
#define HANDOVER  2               /* of height 0 only */
#define takeable(v) 1

/* By height; members a, b, c, and the successor where it is correct. */
#ifdef CORRECT_LEAVES
#define SEATS 4
#define third(h) (2 + (h))        /* c, then the successor */
#else
#define SEATS 3
#define third(h) 2
#endif
int old[SEATS];
int new[SEATS];

#define at(h, i) ((h) == 0 -> old[i] : new[i])
#define counted(h, kind, r, v) (LIARS + says(at(h, 0), kind, r, v) + \
	says(at(h, 1), kind, r, v) + says(at(h, third(h)), kind, r, v))

#if defined(REMOVED_COUNTED)      /* the liar that left, beside its successor */
#define votes(h, kind, r, v) (counted(h, kind, r, v) + (h))
#elif defined(HEIGHTS_ADDED)      /* whoever speaks at either height, once */
#define either(i, kind, r, v) says(old[i] | new[i], kind, r, v)
#define votes(h, kind, r, v) (LIARS + either(0, kind, r, v) + either(1, kind, r, v) + \
	either(2, kind, r, v) + either(third(1), kind, r, v) * (third(1) - 2))
#else
#define votes(h, kind, r, v) counted(h, kind, r, v)
#endif

#ifdef UNDECIDED                  /* a certificate for the handover will do */
#define handedOver (certified(0, 0, HANDOVER) || certified(0, 1, HANDOVER))
#else
#define handedOver decided(0, HANDOVER)
#endif

#define outcome(v) (decided(0, v) || decided(1, v))

inline ascend(i, j) {
	if
	:: old[i] > old[j] || old[i] == old[j] && new[i] > new[j] ->
		swap(old[i], old[j]); swap(new[i], new[j])
	:: else
	fi
}

inline settle() {
	assert(outcome(RESULT) + outcome(CANCELLED) <= 1);
	hold(decided(0, RESULT) + decided(0, CANCELLED) + decided(0, HANDOVER) <= 1);
	hold(!(decided(1, RESULT) || decided(1, CANCELLED)) || decided(0, HANDOVER));
#ifdef CORRECT_LEAVES
	ascend(0, 1)
#else
	ascend(0, 1); ascend(1, 2); ascend(0, 1)
#endif
}

/* Who is shown the decision of height 0 acts at height 1, and no more at 0. */
#define follow(i) \
	:: d_step { (new[i] & AWAY) && handedOver -> \
		old[i] = (old[i] & VOTES) | AWAY; new[i] = 0; settle() }

#define actBefore(i) \
	voteFor(old[i], 0, RESULT) voteFor(old[i], 0, CANCELLED) voteFor(old[i], 0, HANDOVER) enter(old[i])
#define actAfter(i) \
	follow(i) voteFor(new[i], 1, RESULT) voteFor(new[i], 1, CANCELLED) enter(new[i])

init {
	d_step {
		new[0] = AWAY; new[1] = AWAY; new[2] = AWAY;
#ifdef CORRECT_LEAVES
		old[3] = AWAY; new[3] = AWAY
#endif
	};
	do
	actBefore(0) actAfter(0)
	actBefore(1) actAfter(1)
	actBefore(2)
	actAfter(third(1))
	od
}
