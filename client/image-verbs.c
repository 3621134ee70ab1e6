/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* abctl image sign, keygen, and what they share with create. */
#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>

#include "client/image-verbs.h"
#include "client/manifest.h"
#include "client/out.h"
#include "stream/manifest.h"

static int wrong_use(Err **reterr, const char *what) {
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "%s", what);
}

/* What --passphrase-file names, or NULL; new string. */
static int read_passphrase(Client *c, char **ret, Err **reterr) {
        const char *path = c->opt.passphrase_file;
        _cleanup_(freep) char *line = NULL;
        _cleanup_(fclosep) FILE *f = NULL;
        size_t room = 0;
        ssize_t n;

        *ret = NULL;
        if (!path)
                return 0;
        f = fopen(path, "re");
        if (!f)
                return err_sys(reterr, errno, "Cannot open %s", path);
        n = getline(&line, &room, f);
        if (n > 0)
                line[strcspn(line, "\n")] = '\0';
        if (n <= 0 || !*line)
                return err_kind(reterr, ERR_BAD_INPUT, ENODATA,
                                "%s holds no passphrase: its first line is empty", path);
        *ret = MOVE(line);
        return 0;
}

void image_signers_done(ImageSigners *s) {
        for (size_t i = 0; i < s->n; i++)
                signer_done(&s->signers[i]);
        s->n = 0;
}

int image_signers(Client *c, ImageSigners *ret, Err **reterr) {
        _cleanup_(image_signers_done) ImageSigners s = {0};
        _cleanup_(freep) char *passphrase = NULL;
        int r = read_passphrase(c, &passphrase, reterr);

        for (size_t i = 0; r >= 0 && i < c->opt.key.n; i++) {
                r = signer_open(&(SignerArgs){c->opt.key.values[i], c->opt.cert, c->opt.chain,
                                                passphrase},
                                &s.signers[i], reterr);
                if (r >= 0)
                        s.n++;
        }
        if (r < 0)
                return r;
        *ret = s;
        s.n = 0;
        return 0;
}

int image_sign_text(const ImageSigners *s, const char *text, char **ret, Err **reterr) {
        _cleanup_(freep) char *now = strdup(text);

        if (!now)
                return err_new(reterr, ENOMEM, "out of memory");
        for (size_t i = 0; i < s->n; i++) {
                char *more = NULL;
                int r = signer_sign(&s->signers[i], now, strlen(now), &more, reterr);

                if (r < 0)
                        return r;
                free(now);
                now = more;
        }
        *ret = MOVE(now);
        return 0;
}

/* What no machine could read is not signed, nor written over: it may be any file. */
static int check_manifest(const char *text, size_t size, Err **reterr) {
        _cleanup_(signed_text_done) SignedText t = {0};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(err_freep) Err *why = NULL;
        int r = signed_text_split(text, size, &t, &why);

        if (r >= 0 || err_kind_of(why) == ERR_NOT_SIGNED)
                return r >= 0 ? manifest_parse(t.text, t.size, &m, reterr)
                              : manifest_parse(text, size, &m, reterr);
        *reterr = MOVE(why);
        return r;
}

static int load_manifest(const char *path, char **ret, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r = manifest_load(path, 0, &text, &size, reterr);

        if (r >= 0)
                r = check_manifest(text, size, reterr);
        if (r < 0)
                return err_add(reterr, r, "Cannot sign %s", path);
        *ret = MOVE(text);
        return 0;
}

int verb_sign(Client *c, int argc _unused_, char *argv[], Err **reterr) {
        _cleanup_(image_signers_done) ImageSigners signers = {0};
        _cleanup_(freep) char *path = NULL, *text = NULL, *signed_text = NULL;
        int r;

        if (c->opt.key.n == 0)
                return wrong_use(reterr, "'abctl image sign' wants --key=FILE");
        if (str_eq(argv[0], "-") || strstr(argv[0], "://"))
                return wrong_use(reterr, "'abctl image sign' wants a manifest that is a file here");
        r = load_manifest(argv[0], &text, reterr);
        if (r >= 0)
                r = image_signers(c, &signers, reterr);
        if (r >= 0)
                r = image_sign_text(&signers, text, &signed_text, reterr);
        if (r < 0)
                return r;
        /* of a link, what it leads to */
        path = realpath(argv[0], NULL);
        if (!path)
                return err_sys(reterr, errno, "Cannot find %s", argv[0]);
        r = image_write_draft(path, signed_text, strlen(signed_text), reterr);
        if (r >= 0)
                r = image_take_draft(path, reterr);
        if (r < 0) {
                image_drop_draft(path);
                return r;
        }
        say(c, "%s is signed.", argv[0]);
        return EXIT_DONE;
}

/* Twice, without echo. */
static int ask_passphrase(char **ret, Err **reterr) {
        char first[256], again[256];

        if (!isatty(STDIN_FILENO))
                return wrong_use(reterr, "--passphrase asks on a terminal, and there is none: use "
                                         "--passphrase-file=FILE");
        for (int i = 0; i < 2; i++) {
                struct termios before, quiet;
                char *buf = i == 0 ? first : again;

                tcgetattr(STDIN_FILENO, &before);
                quiet = before;
                quiet.c_lflag &= ~(tcflag_t) ECHO;
                tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
                fprintf(stderr, i == 0 ? "Passphrase: " : "Again: ");
                if (!fgets(buf, sizeof(first), stdin))
                        *buf = '\0';
                tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
                fputc('\n', stderr);
                buf[strcspn(buf, "\n")] = '\0';
        }
        if (!*first || !str_eq(first, again))
                return wrong_use(reterr, "the passphrases are empty or differ");
        *ret = strdup(first);
        explicit_bzero(first, sizeof(first));
        explicit_bzero(again, sizeof(again));
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

/* An existing key is never written over. */
static int make_file(const char *path, mode_t mode, Err **reterr) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

        return fd < 0 ? err_sys(reterr, errno, "Cannot make %s", path) : fd;
}

/* Before anybody builds on it. */
static int keep_key(const char *path, int private_fd, int public_fd, Err **reterr) {
        if (fsync(private_fd) < 0 || fsync(public_fd) < 0)
                return err_sys(reterr, errno, "Cannot write %s", path);
        return image_sync_names(path, reterr);
}

int verb_keygen(Client *c, int argc _unused_, char *argv[], Err **reterr) {
        const char *file = argv[0];
        _cleanup_(freep) char *public_name = NULL, *passphrase = NULL;
        _cleanup_(fd_closep) int private_fd = -1, public_fd = -1;
        char fingerprint[FINGERPRINT_SIZE];
        int r;

        public_name = str_printf("%s.pub", file);
        if (!public_name)
                return err_new(reterr, ENOMEM, "out of memory");
        r = c->opt.passphrase ? ask_passphrase(&passphrase, reterr)
                              : read_passphrase(c, &passphrase, reterr);
        if (r >= 0)
                private_fd = r = make_file(file, 0600, reterr);
        if (r >= 0)
                public_fd = r = make_file(public_name, 0644, reterr);
        if (r >= 0)
                r = signer_generate(private_fd, public_fd, passphrase, fingerprint, reterr);
        if (r >= 0)
                r = keep_key(file, private_fd, public_fd, reterr);
        if (r < 0) {
                if (private_fd >= 0)
                        (void) unlink(file);
                if (public_fd >= 0)
                        (void) unlink(public_name);
                return r;
        }
        say(c, "%s is the private key: keep it away from the machines that are updated.", file);
        say(c, "%s is the public key: it goes to /etc/abupdate/keys.d/NAME.pem, or into the image.",
                        public_name);
        say(c, "Fingerprint: %s", fingerprint);
        return EXIT_DONE;
}
