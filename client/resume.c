/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loads only what the machine does not hold of an image from an update that was cut off. */
#include "base/log.h"
#include "client/bus.h"
#include "client/image.h"
#include "client/text.h"

/* 0 where the daemon does not say: then everything is loaded, and what is wrong the update itself tells. */
static uint64_t ask_kept(Client *c, int manifest) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        uint64_t kept = 0;
        const char *key;
        int r;

        if (bus_method(c, "Inspect", &m, NULL) < 0 || sd_bus_message_append(m, "h", manifest) < 0 ||
                        bus_call(c, m, /* timeout= */ 0, &reply, NULL) < 0)
                return 0;
        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = sd_bus_message_read(reply, "s", &key);
                if (r >= 0)
                        r = str_eq(key, "kept") ? sd_bus_message_read(reply, "v", "t", &kept)
                                                : sd_bus_message_skip(reply, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        return r < 0 ? 0 : kept;
}

int image_resume(Client *c, const char *url, unsigned retries, Image *image, Err **reterr) {
        uint64_t kept;
        char bytes[16];
        int r;

        if (image->manifest <= 0)
                return 0;
        kept = ask_kept(c, image->manifest);
        /* who read it moved the place that is next */
        if (lseek(image->manifest, 0, SEEK_SET) < 0)
                return err_sys(reterr, errno, "Cannot hand the manifest over");
        if (kept == 0)
                return 0;
        log_notice("The machine has the first %s of this image already: going on there.",
                        format_bytes(bytes, kept));
        image->fd = fd_close(image->fd);
        image->download = download_free(image->download);
        r = download_start(url, retries, kept, &image->download, reterr);
        if (r < 0)
                return r;
        image->fd = download_take_pipe(image->download);
        image->offset = kept;
        return 0;
}
