/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/boot-words.h"
#include "backends/boot-files.h"

/* The kernel cuts off what is longer than COMMAND_LINE_SIZE, with the NUL at its end. Some have more
 * room; a device that is 32-bit ARM or RISC-V has less. What names a root is written later, and may
 * change with a merge. */
#if defined(__arm__) || defined(__riscv)
enum { LINE_SIZE = 1024 };
#else
enum { LINE_SIZE = 2048 };
#endif
enum { FILE_MAX = 64 * 1024, ROOT_MAX = 512, WORDS_MAX = LINE_SIZE - 1 - ROOT_MAX };

#define BLANKS " \t\n"

const char *const words_of_a_slot[] = {"root=", "rootflags=", "rootfstype=", "BOOT_IMAGE=",
                "initrd=", "abupdate.", "ro", "rw", NULL};

bool word_among(const char *word, const char *const words[]) {
        for (; *words; words++)
                if (strpbrk(*words, "=.") ? str_after(word, *words) != NULL : str_eq(word, *words))
                        return true;
        return false;
}

static int refuse(const char *where, const char *what, Err **reterr) {
        return err_kind(reterr, ERR_WRONG_LAYOUT, EMEDIUMTYPE,
                        "%s cannot be given to a kernel: %s; its maker has to correct it", where,
                        what);
}

/* GRUB puts a backslash before ' and \, and U-Boot takes one away; what is not plain ASCII each reads in
 * a code of its own. All else comes through as it is, also $, `, ; and braces. */
static int check_bytes(const char *line, const char *where, Err **reterr) {
        char what[64];

        for (; *line; line++) {
                unsigned char c = (unsigned char) *line;

                if (c < 0x20 || c > 0x7e)
                        snprintf(what, sizeof(what), "it holds the byte 0x%02x", c);
                else if (c == '\'' || c == '\\')
                        snprintf(what, sizeof(what), "loaders do not agree on the character %c", c);
                else
                        continue;
                return refuse(where, what, reterr);
        }
        return 0;
}

/* One word as the kernel has it: a blank in double quotes divides nothing. NULL: they do not end. */
static const char *word_end(const char *word) {
        bool quoted = false;

        for (; *word && (quoted || *word != ' '); word++)
                quoted ^= *word == '"';
        return quoted ? NULL : word;
}

/* The kernel takes quotes off a whole word, and off a whole value; others stay in it, and GRUB sets them
 * anew. An initrd knows no quotes at all: a word in them is one of its own there. */
static int check_word(const char *word, size_t n, const char *where, Err **reterr) {
        const char *open = memchr(word, '"', n), *equal = memchr(word, '=', n);
        const char *end = word + n;

        if (!open)
                return 0;
        if ((open != word && open - 1 != equal) ||
                        memchr(open + 1, '"', (size_t) (end - open - 1)) != end - 1)
                return refuse(where, "quotes are around neither a word nor a value", reterr);
        for (const char *w = open == word ? word + 1 : strchr(word, ' '); w && w < end;
                        w = strchr(w, ' ')) {
                _cleanup_(freep) char *inner = NULL;

                w += strspn(w, " ");
                inner = strndup(w, strcspn(w, " \""));
                if (!inner)
                        return err_new(reterr, ENOMEM, "out of memory");
                if (word_among(inner, words_of_a_slot))
                        return refuse(where, "what names a slot is in quotes", reterr);
        }
        return 0;
}

int words_check(const char *line, const char *where, Err **reterr) {
        char what[64];
        int r;

        if (strlen(line) > WORDS_MAX) {
                snprintf(what, sizeof(what), "it has more than %i characters", WORDS_MAX);
                return refuse(where, what, reterr);
        }
        r = check_bytes(line, where, reterr);
        for (line += strspn(line, " "); r >= 0 && *line; line += strspn(line, " ")) {
                const char *end = word_end(line);

                if (!end)
                        return refuse(where, "quotes have no end", reterr);
                r = check_word(line, (size_t) (end - line), where, reterr);
                line = end;
        }
        return r;
}

bool words_fit(const char *line) {
        return strlen(line) < LINE_SIZE;
}

/* A file of the tree; one that cannot be reached inside it is not there. */
typedef struct File {
        const char *path; /* NULL: none */
        char *text;
        size_t size;
} File;

static void file_done(File *f) {
        free(f->text);
}

static int read_text(int fd, File *f, Err **reterr) {
        f->text = malloc(FILE_MAX + 1);
        if (!f->text)
                return err_new(reterr, ENOMEM, "out of memory");
        while (f->size < FILE_MAX) {
                ssize_t n = read(fd, f->text + f->size, FILE_MAX - f->size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(reterr, errno, "read /%s", f->path);
                if (n == 0)
                        break;
                f->size += (size_t) n;
        }
        f->text[f->size] = '\0';
        return 0;
}

/* The first that is there counts, an empty one too, as with kernel-install(8). */
static int read_file(int root_fd, File *f, Err **reterr) {
        static const char *const paths[] = {"etc/kernel/cmdline", "usr/lib/kernel/cmdline"};

        for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
                _cleanup_(fd_closep) int fd = boot_files_open(root_fd, paths[i]);

                if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -EXDEV)
                        continue;
                if (fd < 0)
                        return err_sys(reterr, fd, "open /%s", paths[i]);
                f->path = paths[i];
                return read_text(fd, f, reterr);
        }
        return 0;
}

/* Each run of blanks as one, and one behind it. */
static char *put_line(char *end, const char *start, const char *line, size_t n) {
        for (size_t i = 0; i <= n; i++)
                if (i < n && !strchr(BLANKS, line[i]))
                        *end++ = line[i];
                else if (end > start && end[-1] != ' ')
                        *end++ = ' ';
        return end;
}

/* Lines but for comments. Quotes stay: the kernel takes them off. */
static char *join(const File *f) {
        char *line = malloc(f->size + 2), *end = line;

        for (const char *at = f->text; line && *at;) {
                size_t n = strcspn(at, "\n");

                if (at[strspn(at, " \t")] != '#')
                        end = put_line(end, line, at, n);
                at += n + (at[n] == '\n');
        }
        if (line)
                *(end > line ? end - 1 : end) = '\0';
        return line;
}

int words_read(int root_fd, char **ret, Err **reterr) {
        _cleanup_(freep) char *line = NULL, *where = NULL;
        _cleanup_(file_done) File f = {0};
        int r = read_file(root_fd, &f, reterr);

        if (r < 0 || !f.path)
                return r < 0 ? r : str_set(ret, NULL);
        where = str_printf("/%s of the version", f.path);
        line = join(&f);
        if (!where || !line)
                return err_new(reterr, ENOMEM, "out of memory");
        if (f.size == FILE_MAX)
                return refuse(where, "it is larger than any command line", reterr);
        if (strlen(f.text) != f.size)
                return refuse(where, "it holds the byte 0x00", reterr);
        r = words_check(line, where, reterr);
        if (r < 0)
                return r;
        free(*ret);
        *ret = MOVE(line);
        return 0;
}

int words_differ(int root_fd, int before_fd, Err **reterr) {
        _cleanup_(file_done) File now = {0}, before = {0};
        int r = read_file(root_fd, &now, reterr);

        if (r >= 0)
                r = read_file(before_fd, &before, reterr);
        if (r < 0)
                return r;
        return !str_eq(now.path, before.path) || now.size != before.size ||
               (now.size > 0 && memcmp(now.text, before.text, now.size) != 0);
}
