/* The pause image's one program: holds a pod's namespaces, reaps what is left to it, and ends. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int number) { _exit(number == SIGTERM || number == SIGINT ? 0 : 1); }
static void reap(int number) { while (number && waitpid(-1, NULL, WNOHANG) > 0) ; }

int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
