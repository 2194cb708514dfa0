// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digits.h"
#include "base/file.h"

static bool set(char *out, size_t size, const char *text, size_t len, const char *what,
                struct err *err)
{
    if (len == 0 || len >= size) {
        return err_set(err, "%s has %zu characters; 1 to %zu are possible", what, len, size - 1);
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

static bool set_port(struct kube_config *config, const char *text, struct err *err)
{
    uint64_t port = 0;
    if (!digits_read(&port, text, strlen(text), DIGITS_REFUSE_ZEROS, 65535) || port == 0) {
        return err_set(err, "%s is not a TCP port (1 to 65535)", text);
    }
    config->port = (uint16_t)port;
    return true;
}

bool kube_config_set_server(struct kube_config *config, const char *address, struct err *err)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL) {
        return err_set(err, "%s has no port: HOST:PORT is what it takes", address);
    }
    const char *host = address;
    size_t len = (size_t)(colon - address);
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len) != NULL) {
        return err_set(err, "%s: an IPv6 address stands in brackets, [fd00::1]:443", address);
    }
    return set(config->host, sizeof config->host, host, len, "the host", err) &&
           set_port(config, colon + 1, err);
}

bool kube_config_in_cluster(struct kube_config *out, const char *folder, struct err *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    struct file file = {0};
    char path[PATH_MAX];
    *out = (struct kube_config){.port = 0};
    if (host == NULL || port == NULL) {
        return err_set(err, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this "
                            "is no pod");
    }
    if (!set(out->host, sizeof out->host, host, strlen(host), "KUBERNETES_SERVICE_HOST", err)) {
        return false;
    }
    if (!set_port(out, port, err)) {
        return err_prefix(err, "KUBERNETES_SERVICE_PORT");
    }
    snprintf(out->token_file, sizeof out->token_file, "%s/token", folder);
    snprintf(out->ca_file, sizeof out->ca_file, "%s/ca.crt", folder);
    snprintf(path, sizeof path, "%s/namespace", folder);
    bool ok = file_read(&file, path, KUBE_NAMESPACE_BYTES, FILE_ANY, err) &&
              set(out->namespace, sizeof out->namespace, file.bytes, strcspn(file.bytes, " \t\r\n"),
                  "the namespace", err);
    file_cleanup(&file);
    return ok || err_prefix(err, "%s", path);
}
