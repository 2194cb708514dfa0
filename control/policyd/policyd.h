// SPDX-License-Identifier: Apache-2.0
//
// tabard-policyd as a whole: folder, service, listeners, metrics and signals on one loop. main
// calls policyd_run once. One thread besides libuv's workers.
#ifndef TABARD_CONTROL_POLICYD_POLICYD_H
#define TABARD_CONTROL_POLICYD_POLICYD_H

#include "control/policyd/policyd_flags.h"

#define POLICYD_GRACE_MS 200 // that a stop leaves the streams to end
// For how long the webhook is served after a signal, until nobody is led here any more.
#define POLICYD_DRAIN_MS 5000
// Between renewals of its own certificate; the CRL and old tokens are looked at then, too. A clock
// that was set is noticed at the next look.
#define POLICYD_RENEW_MS 1800000
#define POLICYD_LOOK_MS  1000

// policyd_run serves until SIGTERM or SIGINT. Returns the exit status.
int policyd_run(const struct policyd_flags *flags);

#endif
