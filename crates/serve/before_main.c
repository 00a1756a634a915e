/* Sets the variables that the program's libraries read, before the libraries are started: the program begins anew
 * with them, as the same process. After that, in `main`, each library would have been started twice; libtorch
 * takes a fifth of a second for it.
 *
 * Nothing has been started here, the C library neither, so only what calls the system is called. Where anything
 * fails, `main` sets them. */

#include <elf.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "environment.h"

enum { COUNT = sizeof VARIABLES / sizeof VARIABLES[0] };

static int begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* Whether none of the variables that are set says what this one is for. */
static int is_unset(size_t index, char **environment) {
    const char *unless = VARIABLES[index].unless;
    for (char **set = environment; *set != NULL; set++) {
        if (begins(*set, VARIABLES[index].name) || (*unless != '\0' && begins(*set, unless))) {
            return 0;
        }
    }
    return 1;
}

/* Whether the program has rights that its user has not: the loader then takes variables away, and would each time. */
static int is_privileged(char **environment) {
    while (*environment != NULL) {
        environment++;
    }
    /* What the kernel tells of the process follows. */
    const struct {
        unsigned long type, value;
    } *told = (const void *)(environment + 1);
    for (; told->type != AT_NULL; told++) {
        if (told->type == AT_SECURE) {
            return told->value != 0;
        }
    }
    return 0;
}

static void set_for_libraries(int count, char **arguments, char **environment) {
    (void)count;
    size_t known = 0, missing = 0;
    while (environment[known] != NULL) {
        known++;
    }
    char *all[known + COUNT + 1];
    memcpy(all, environment, known * sizeof *all);
    for (size_t index = 0; index < COUNT; index++) {
        if (is_unset(index, environment)) {
            all[known + missing++] = (char *)VARIABLES[index].set;
        }
    }
    all[known + missing] = NULL;
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (missing > 0 && length > 0 && !is_privileged(environment)) {
        program[length] = '\0';
        execve(program, arguments, all);
    }
}

__attribute__((section(".preinit_array"), used)) static void (*const before_libraries)(int, char **, char **) =
    set_for_libraries;
