// SPDX-License-Identifier: Apache-2.0
//
// The structs that the files of the model share. Nobody else includes it.
//
// Every object is a struct kube_object in its kind's table and in its namespace's list. Whatever
// changes marks what hangs on it: places whose owner changed, services whose members may have
// changed, and the fleet as a whole. kube_model_take then works out no more than that.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_MODEL_KUBE_MODEL_IMPL_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_MODEL_KUBE_MODEL_IMPL_H

#include "base/data/array.h"
#include "base/data/list.h"
#include "control/policyd/kubernetes/model/kube_model.h"
#include "control/policyd/world/table.h"

// What an object was judged to be. Zero state: it was not judged yet.
struct kube_judgement {
    struct list news; // in the model's, until it is taken
    enum kube_kind kind;
    const char *ns; // the object's
    const char *name;
    int64_t generation;
    bool was_accepted; // says the object's status: by a policyd before this one, say
    bool is_accepted;
    const char *reason; // NULL: not judged yet
    char *message;      // owned
};

// How many a namespace may have in force, the oldest ones: nobody may fill the fleet.
#define KUBE_POLICIES_OF_ONE_MAX     1000
#define KUBE_DESTINATIONS_OF_ONE_MAX 200
#define KUBE_SERVICES_OF_ONE_MAX     2000
#define KUBE_SERVICE_BYTES_OF_ONE    (2u << 20) // that a caller may be told of all of them

// The life that the settings may give certificates; deploy/crds/resources.py has them, too.
#define KUBE_CERTIFICATE_SECONDS_MIN 60
#define KUBE_CERTIFICATE_SECONDS_MAX 86400

struct kube_namespace {
    struct table_link link; // first: a link is its namespace
    char *name;             // owned
    bool is_known;          // the Namespace itself has come
    bool is_terminating;
    Tabard__V1__Settings__Enforcement mode; // of its annotation, or 0
    struct kube_judgement judgement;
    struct list objects[KUBE_NUM_KINDS]; // of kube_object.in_ns
    uint32_t num_objects;
    uint32_t num_by_labels; // policies in force that select by labels
    uint32_t num_lost;      // its destinations that are refused, and were something else before
};

struct kube_object {
    struct table_link link;    // first: a link is its object
    char *path;                // owned: "NS/NAME", "/NAME" where there is no namespace
    const char *name;          // the end of path
    struct kube_namespace *ns; // NULL: cluster-wide
    struct list in_ns;
};

// The labels of a pod, which the pods of one ReplicaSet share: each key and each value with its
// NUL, keys in order.
struct kube_labels {
    struct table_link link; // first
    uint32_t num_pods;
    size_t len;
    char text[];
};

// One identity and variant, for as long as a pod, a place or a service has it.
struct kube_workload {
    struct table_link link; // first
    struct kube_namespace *ns;
    char *account; // owned
    char *variant; // owned
    char *key;     // owned; NULL until the trust domain is known
    uint32_t num_pods;
    uint32_t num_refs; // pods, places and services that have it
    bool is_in_fleet;  // of the last one that was taken
};

struct kube_place_row {
    struct table_link link; // first
    struct ip ip;
    struct array pods;           // of struct kube_pod *: those whose status names it
    struct array services;       // of struct kube_service *: those whose cluster IP it is
    struct array slices;         // of struct kube_slice *: those with an endpoint here
    uint32_t num_destinations;   // exact addresses of destinations that are in force
    struct kube_workload *owner; // counted; NULL: nobody in the mesh
    struct list changed;         // in the model's, when the owner was not told yet
};

struct kube_pod {
    struct kube_object object;      // first
    char *uid;                      // owned
    char *account;                  // owned
    char *created;                  // owned: RFC 3339, so that texts compare as times do
    struct kube_labels *labels;     // counted; NULL: not in the mesh
    struct kube_workload *workload; // counted; NULL: not in the mesh, or over
    struct kube_place_row **places; // owned array
    uint32_t num_places;
    bool is_in_mesh;
    bool is_over;
    bool is_terminating;
};

#define KUBE_SETTINGS_NAME "default"

struct kube_service_port {
    char *name; // owned; "" if it is the only one
    uint16_t port;
};

struct kube_service {
    struct kube_object object; // first
    struct kube_judgement judgement;
    bool is_known;       // the Service itself has come; else slices or destinations name it
    bool is_dirty;       // in the model's list: its members must be worked out anew
    struct array ports;  // of kube_service_port: TCP alone
    struct array places; // of struct kube_place_row *: its cluster IPs
    struct list slices;  // of kube_slice.in_service
    uint32_t num_named;  // destinations that name it
    struct list dirty;
    // Worked out from the slices:
    struct array members; // of struct kube_workload *, counted, by their key
    struct array targets; // of kube_target, sorted
    struct array outside; // of struct ip: endpoints that are not in the mesh, of a headless one
    bool has_strangers;
};

// A port of a service, and one port behind it.
struct kube_target {
    uint16_t port;
    uint16_t target;
};

struct kube_endpoint {
    struct kube_place_row *place; // NULL: no IP address, so it is a stranger
    bool is_pod;                  // it says so
};

struct kube_slice {
    struct kube_object object;    // first
    struct kube_service *service; // NULL: of no service
    struct list in_service;
    struct kube_endpoint *endpoints; // owned
    uint32_t num_endpoints;
    struct array ports; // of kube_service_port
};

// The pods that a resource is for.
struct kube_selector {
    struct array accounts;      // of char *, owned; none: every account
    struct kube_labels *labels; // owned, not shared; NULL: whatever their labels
};

struct kube_policy {
    struct kube_object object; // first
    struct kube_judgement judgement;
    char *spec;      // owned: as it was read last, in a canonical form
    char *created;   // owned
    bool is_bad;     // what it says now is refused
    bool is_surplus; // too many of the namespace are older
    bool is_guard;   // `good` is none of its forms, but denies all in place of one that isn't known
    bool is_gone;    // deleted, but its namespace ends, and a DENY stays to the end
    // What is in force: the last form that was good.
    Tabard__V1__FleetPolicy *good; // owned; without its variants; NULL: none
    struct kube_selector selector;
};

struct kube_destination {
    struct kube_object object; // first
    struct kube_judgement judgement;
    char *spec;    // owned
    char *created; // owned
    bool is_bad;   // what it says now is refused
    bool is_lost;  // and what it said before isn't known
    // What is in force, unless it stands against another one.
    Tabard__V1__FleetDestination *good; // owned; with its own addresses alone; NULL: none
    struct kube_selector selector;
    struct array services; // of struct kube_service *
    struct array places;   // of struct kube_place_row *: exact addresses
};

struct kube_settings {
    struct kube_object object; // first
    struct kube_judgement judgement;
};

struct kube_model {
    char *own_namespace; // owned
    struct table namespaces;
    struct table objects[KUBE_NUM_KINDS];
    struct table labels;
    struct table workloads;
    struct table places;
    struct list changed_places; // of kube_place_row.changed
    struct list dirty_services; // of kube_service.dirty
    struct list news;           // of kube_judgement.news
    struct array told_places;   // of kube_place, of the last take
    struct array moved;         // of kube_moved; their texts are owned
    struct array told_moved;    // those of the last take
    // Of MeshSettings `default`, the last good form:
    char *trust_domain; // owned; NULL: none yet
    Tabard__V1__Settings__Enforcement mode;
    Tabard__V1__Settings__UnlistedOutbound unlisted_outbound;
    Tabard__V1__Settings__KeyExchange key_exchange; // 0: not said
    uint32_t certificate_seconds;                   // 0: not said
    uint32_t num_lost; // destinations of the own namespace, which are for everybody
    bool is_fleet_dirty;
    struct kube_model_stats stats;
};

// ---- objects (kube_object.c)

// kube_object_find returns an object of a kind, or NULL; kube_object_make finds or makes it, of
// `size` bytes. kube_object_drop takes it out and frees the object itself.
struct kube_object *kube_object_find(const struct kube_model *model, enum kube_kind kind,
                                     const char *ns, const char *name);
struct kube_object *kube_object_make(struct kube_model *model, enum kube_kind kind, const char *ns,
                                     const char *name, size_t size);
void kube_object_drop(struct kube_model *model, enum kube_kind kind, struct kube_object *object);

// kube_namespace_find returns a namespace that is known or that something is in, or NULL;
// kube_namespace_make makes it; kube_namespace_release frees it once it is neither.
struct kube_namespace *kube_namespace_find(const struct kube_model *model, const char *name);
struct kube_namespace *kube_namespace_make(struct kube_model *model, const char *name);
void kube_namespace_release(struct kube_model *model, struct kube_namespace *ns);

// kube_judge_generation notes which generation of an object is judged next, and kube_judge what it
// is judged to be; the message is copied. kube_judge_refused says what is wrong, and what
// counts instead, NULL: nothing does. kube_judge_is_lost says whether a refused object may have had
// a good form that isn't known: one that was changed, since generations begin at 1, or that a
// policyd of another version has accepted. kube_judge_good is for objects that are not ours, of
// which only what is wrong is told: it tells that it is so no more.
void kube_judge(struct kube_model *model, struct kube_judgement *judgement, bool is_accepted,
                const char *reason, const char *message);
void kube_judge_generation(struct kube_model *model, struct kube_judgement *judgement,
                           const json_t *object);
void kube_judge_refused(struct kube_model *model, struct kube_judgement *judgement,
                        const struct err *err, const char *instead);
#define KUBE_STAYS "what was in force before stays"
bool kube_judge_is_lost(const struct kube_judgement *judgement, bool has_good);
void kube_judge_good(struct kube_model *model, struct kube_judgement *judgement);
void kube_judgement_cleanup(struct kube_judgement *judgement);

// kube_namespace_mode returns whether the pods of a namespace enforce or observe.
Tabard__V1__Settings__Enforcement kube_namespace_mode(const struct kube_model *model,
                                                      const struct kube_namespace *ns);

// ---- one kind each: put and delete

void kube_namespace_put(struct kube_model *model, const char *name, const json_t *object);
void kube_namespace_delete(struct kube_model *model, const char *name);
void kube_pod_put(struct kube_model *model, const char *ns, const char *name, const json_t *object);
void kube_pod_delete(struct kube_model *model, struct kube_pod *pod);
void kube_service_put(struct kube_model *model, const char *ns, const char *name,
                      const json_t *object);
void kube_service_delete(struct kube_model *model, struct kube_service *service);
void kube_slice_put(struct kube_model *model, const char *ns, const char *name,
                    const json_t *object);
void kube_slice_delete(struct kube_model *model, struct kube_slice *slice);
void kube_policy_put(struct kube_model *model, const char *ns, const char *name,
                     const json_t *object);
void kube_policy_delete(struct kube_model *model, struct kube_policy *policy);
void kube_policy_judge(struct kube_model *model, struct kube_object *object);
// kube_policies_limit judges which of a namespace's are too many: the younger ones. `policies` are
// those of one namespace, with no more after it.
void kube_policies_limit(struct kube_model *model, struct kube_object *const *policies,
                         uint32_t num);
// kube_policies_end ends those that are gone, but stayed as their namespace was ending.
void kube_policies_end(struct kube_model *model, struct kube_namespace *ns);
void kube_destination_put(struct kube_model *model, const char *ns, const char *name,
                          const json_t *object);
void kube_destination_delete(struct kube_model *model, struct kube_destination *destination);
void kube_destination_judge(struct kube_model *model, struct kube_object *object);
void kube_settings_put(struct kube_model *model, const char *name, const json_t *object);
void kube_settings_delete(struct kube_model *model, struct kube_settings *settings);

// ---- pods (kube_pod.c)

// kube_pod_settle works out anew which workload a pod is. kube_pods_settle does so for all pods of
// a namespace, whose policies by labels have changed.
void kube_pod_settle(struct kube_model *model, struct kube_pod *pod);
void kube_pods_settle(struct kube_model *model, struct kube_namespace *ns);

// kube_workload_unref gives up one reference.
void kube_workload_ref(struct kube_workload *workload);
void kube_workload_unref(struct kube_model *model, struct kube_workload *workload);

// kube_workload_key needs the trust domain.
const char *kube_workload_key(const struct kube_model *model, struct kube_workload *workload);

// ---- addresses (kube_place.c)

// kube_place_find finds or makes the row of an address. kube_place_settle works out whose it is
// now, and frees a row that nothing refers to; the row may be gone then.
struct kube_place_row *kube_place_find(struct kube_model *model, const struct ip *ip);
void kube_place_settle(struct kube_model *model, struct kube_place_row *place);

// kube_place_add and kube_place_remove put something into one of a row's three lists, or take it
// out once.
void kube_place_add(struct array *list, void *item);
void kube_place_remove(struct array *list, const void *item);

// ---- services (kube_service.c)

// kube_service_mark has a service's members worked out by the next take; kube_service_settle does
// so. kube_service_named finds or makes one that a destination names, kube_service_unnamed is its
// end.
void kube_service_mark(struct kube_model *model, struct kube_service *service);
void kube_service_settle(struct kube_model *model, struct kube_service *service);
struct kube_service *kube_service_named(struct kube_model *model, const char *ns, const char *name);
void kube_service_unnamed(struct kube_model *model, struct kube_service *service);

// ---- selectors (kube_selector.c)

// kube_selector_read reads a resource's spec.selector, NULL: none. false sets err.
bool kube_selector_read(struct kube_selector *out, const json_t *selector, bool takes_labels,
                        struct err *err);
void kube_selector_cleanup(struct kube_selector *selector);

// kube_selector_patterns returns the patterns of the SPIFFE ids of the accounts that are selected
// in a namespace: malloc'd texts in a malloc'd array.
char **kube_selector_patterns(const struct kube_model *model, const struct kube_selector *selector,
                              const char *ns, size_t *out_num);

// kube_selector_matches says whether a pod in the mesh is selected, of the right namespace.
bool kube_selector_matches(const struct kube_selector *selector, const struct kube_pod *pod);

// kube_labels_new packs labels; NULL: none that could be. kube_labels_hold says whether `all` has
// each of `some`.
struct kube_labels *kube_labels_new(const json_t *labels);
bool kube_labels_hold(const struct kube_labels *all, const struct kube_labels *some);

// ---- the fleet (kube_fleet.c)

// kube_fleet_new makes a message of all that is in force. kube_draft_destinations adds the
// destinations to it, and judges them.
Tabard__V1__FleetConfig *kube_fleet_new(struct kube_model *model);
void kube_draft_destinations(struct kube_model *model, Tabard__V1__FleetConfig *config);

#endif
