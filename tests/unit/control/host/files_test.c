// SPDX-License-Identifier: Apache-2.0
#include "control/host/files.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

#define LONGER_THAN_A_TICK_US 60000 // time itself is what is tested: no fact tells its passing
#define TRIES_MAX             50

TestSuite(files, .timeout = 10, .init = temp_set_up, .fini = temp_tear_down);

struct reader {
    char path[TEMP_PATH_BYTES + 2];
    bool writes_meanwhile; // before it reads, but long after the reading began
    unsigned wait_after_us;
};

static bool read_once(void *ctx, struct files *files, struct err *err)
{
    const struct reader *reader = ctx;
    if (reader->writes_meanwhile) {
        usleep(LONGER_THAN_A_TICK_US);
        temp_write(temp_folder, "f", "text", 4);
    }
    bool ok = files_add(files, "f", "f", reader->path, false, err);
    usleep(reader->wait_after_us);
    return ok;
}

static bool is_recent(const struct reader *reader)
{
    struct files files = {.file_len_max = 100, .len_max = 100};
    cr_assert(files_read(&files, "all", read_once, (void *)reader, NULL));
    bool recent = files.is_recent;
    files_cleanup(&files);
    return recent;
}

Test(files, one_that_changed_just_before_it_was_read_is_recent)
{
    struct reader reader = {.writes_meanwhile = false};
    snprintf(reader.path, sizeof reader.path, "%s/f", temp_folder);
    bool was_recent = false;
    for (int i = 0; i < TRIES_MAX && !was_recent; i++) { // a busy machine may pause us in between
        temp_write(temp_folder, "f", "text", 4);
        was_recent = is_recent(&reader);
    }
    cr_expect(was_recent);
    usleep(LONGER_THAN_A_TICK_US);
    cr_expect_not(is_recent(&reader));
}

Test(files, one_that_changed_while_others_were_read_is_recent_too)
{
    struct reader reader = {.writes_meanwhile = true};
    snprintf(reader.path, sizeof reader.path, "%s/f", temp_folder);
    cr_expect(is_recent(&reader));
    reader.wait_after_us = LONGER_THAN_A_TICK_US;
    cr_expect(is_recent(&reader));
}
