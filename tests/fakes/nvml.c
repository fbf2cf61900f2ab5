/* A stand-in for NVIDIA's libnvidia-ml.so.1, driven by the text file named in FINETUI_FAKE_NVML.
 *
 * The file is read again on every call, so a test can change the machine while a program watches it.
 * One "key value" per line; '#' starts a comment:
 *
 *   init 18                 error code of nvmlInit (0 is success)
 *   driver 550.54.15        nvml 12.550.54.15        cuda 12040
 *   gpu                     starts a card; "slice" starts a MIG slice of the last card
 *   name, uuid, memory_total, memory_used, memory_reserved (bytes), utilization (%), temperature (C),
 *   power, power_limit (mW), capability 8.9, mig 1, addressing 2
 *   error WHAT CODE         that question fails on this device; WHAT is one of the keys above,
 *                           "handle", or "all"
 *   calls PATH              append one line to PATH for each question, to count them
 *
 * Compiled with -DOLD it lacks what drivers before about 2020 lack, with -DANCIENT also nvmlInitWithFlags.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
       INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15, UNKNOWN = 999 };
enum { MAX_DEVICES = 64, MAX_ERRORS = 12, TEXT = 128 };

typedef struct { char what[32]; int code; } Failure;
typedef struct {
    int is_slice, card; /* card: position of the card in the file */
    char name[TEXT], uuid[TEXT];
    unsigned long long total, used, reserved;
    int utilization, temperature, major, minor, mig, addressing;
    unsigned power, power_limit;
    Failure failures[MAX_ERRORS];
    int num_failures;
} Device;
typedef struct {
    int init, cuda, num_devices;
    char driver[TEXT], nvml[TEXT], calls[1024];
    Device devices[MAX_DEVICES];
} Scene;

/* Handles are addresses in this array: position in the file plus one card or slice each. */
static char handles[MAX_DEVICES];

static void copy(char *to, const char *from) { snprintf(to, TEXT, "%s", from); }

static int load(Scene *scene) {
    memset(scene, 0, sizeof *scene);
    copy(scene->driver, "550.54.15");
    copy(scene->nvml, "12.550.54.15");
    scene->cuda = 12040;
    const char *path = getenv("FINETUI_FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    char line[2048];
    Device *device = NULL;
    int card = -1;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!line[0] || line[0] == '#') continue;
        char *value = strchr(line, ' ');
        if (value) *value++ = 0; else value = "";
        if (!strcmp(line, "gpu") || !strcmp(line, "slice")) {
            if (scene->num_devices == MAX_DEVICES) break;
            int slice = line[0] == 's';
            if (!slice) card = scene->num_devices;
            device = &scene->devices[scene->num_devices++];
            device->is_slice = slice;
            device->card = card;
        }
        else if (!strcmp(line, "init")) scene->init = atoi(value);
        else if (!strcmp(line, "cuda")) scene->cuda = atoi(value);
        else if (!strcmp(line, "driver")) copy(scene->driver, value);
        else if (!strcmp(line, "nvml")) copy(scene->nvml, value);
        else if (!strcmp(line, "calls")) snprintf(scene->calls, sizeof scene->calls, "%s", value);
        else if (!device) continue;
        else if (!strcmp(line, "name")) copy(device->name, value);
        else if (!strcmp(line, "uuid")) copy(device->uuid, value);
        else if (!strcmp(line, "memory_total")) device->total = strtoull(value, NULL, 10);
        else if (!strcmp(line, "memory_used")) device->used = strtoull(value, NULL, 10);
        else if (!strcmp(line, "memory_reserved")) device->reserved = strtoull(value, NULL, 10);
        else if (!strcmp(line, "utilization")) device->utilization = atoi(value);
        else if (!strcmp(line, "temperature")) device->temperature = atoi(value);
        else if (!strcmp(line, "power")) device->power = (unsigned)atoi(value);
        else if (!strcmp(line, "power_limit")) device->power_limit = (unsigned)atoi(value);
        else if (!strcmp(line, "mig")) device->mig = atoi(value);
        else if (!strcmp(line, "addressing")) device->addressing = atoi(value);
        else if (!strcmp(line, "capability")) sscanf(value, "%d.%d", &device->major, &device->minor);
        else if (!strcmp(line, "error") && device->num_failures < MAX_ERRORS) {
            Failure *failure = &device->failures[device->num_failures];
            if (sscanf(value, "%31s %d", failure->what, &failure->code) == 2) device->num_failures++;
        }
    }
    fclose(file);
    return 1;
}

/* Reads the file and notes the question; fails as the whole library would. */
static int ask(Scene *scene, const char *question) {
    if (!load(scene)) return UNKNOWN;
    if (scene->calls[0]) {
        FILE *calls = fopen(scene->calls, "a");
        if (calls) { fprintf(calls, "%s\n", question); fclose(calls); }
    }
    return scene->init;
}

static int position(const Scene *scene, const void *handle) {
    long place = (const char *)handle - handles;
    return place >= 0 && place < scene->num_devices ? (int)place : -1;
}

/* The device behind a handle, or the error this question has there. A device gone from the file is lost. */
static int find(Scene *scene, const void *handle, const char *what, Device **device) {
    int code = ask(scene, what);
    if (code) return code;
    int place = position(scene, handle);
    if (place < 0) return GPU_IS_LOST;
    *device = &scene->devices[place];
    for (int i = 0; i < (*device)->num_failures; i++) {
        const Failure *failure = &(*device)->failures[i];
        if (!strcmp(failure->what, what) || !strcmp(failure->what, "all")) return failure->code;
    }
    return SUCCESS;
}

static int give(char *buffer, unsigned length, const char *text) {
    if (strlen(text) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return SUCCESS;
}

int nvmlInit_v2(void) { Scene scene; return ask(&scene, "init"); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == SUCCESS ? "Success" : "Some error"; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    Scene scene;
    int code = ask(&scene, "driver");
    return code ? code : give(version, length, scene.driver);
}

/* The real one answers without a session, so that a version mismatch can be reported. */
int nvmlSystemGetNVMLVersion(char *version, unsigned length) {
    Scene scene;
    return load(&scene) ? give(version, length, scene.nvml) : UNKNOWN;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    Scene scene;
    int code = ask(&scene, "count");
    *count = 0;
    for (int i = 0; !code && i < scene.num_devices; i++) *count += !scene.devices[i].is_slice;
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    Scene scene;
    int code = ask(&scene, "handle");
    for (int i = 0; !code && i < scene.num_devices; i++) {
        if (scene.devices[i].is_slice || index--) continue;
        Device *device;
        *handle = &handles[i];
        return find(&scene, *handle, "handle", &device);
    }
    return code ? code : INVALID_ARGUMENT;
}

int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "name", &device);
    return code ? code : give(name, length, device->name);
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned length) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "uuid", &device);
    return code ? code : give(uuid, length, device->uuid);
}

typedef struct { unsigned long long total, free, used; } Memory;

/* This older question counts the driver's reserve as used. */
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "memory", &device);
    if (code) return code;
    memory->total = device->total;
    memory->used = device->used + device->reserved;
    memory->free = device->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned rates[2]) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "utilization", &device);
    if (code) return code;
    if (device->is_slice) return NOT_SUPPORTED;
    rates[0] = (unsigned)device->utilization;
    rates[1] = 0;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *temperature) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "temperature", &device);
    if (code || sensor) return code ? code : INVALID_ARGUMENT;
    if (device->is_slice) return NOT_SUPPORTED;
    *temperature = (unsigned)device->temperature;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned *power) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "power", &device);
    if (!code) *power = device->power;
    return !code && device->is_slice ? NOT_SUPPORTED : code;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *limit) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "power_limit", &device);
    if (!code) *limit = device->power_limit;
    return code;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "capability", &device);
    if (code) return code;
    *major = device->major;
    *minor = device->minor;
    return SUCCESS;
}

#ifndef ANCIENT
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
#endif

#if !defined(OLD) && !defined(ANCIENT)
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    Scene scene;
    int code = ask(&scene, "cuda");
    *version = scene.cuda;
    return code;
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;

int nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *memory) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "memory", &device);
    if (code) return code;
    if (memory->version != 0x02000028) return 25;
    memory->total = device->total;
    memory->reserved = device->reserved;
    memory->used = device->used;
    memory->free = device->total - device->used - device->reserved;
    return SUCCESS;
}

typedef struct { unsigned version, sensor; int temperature; } TemperatureV1;

int nvmlDeviceGetTemperatureV(void *handle, TemperatureV1 *reading) {
    unsigned value = 0;
    int code = nvmlDeviceGetTemperature(handle, reading->sensor, &value);
    reading->temperature = (int)value;
    return code;
}

typedef struct { unsigned version, mode; } AddressingMode;

int nvmlDeviceGetAddressingMode(void *handle, AddressingMode *mode) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "addressing", &device);
    if (!code) mode->mode = (unsigned)device->addressing;
    return code;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "mig", &device);
    if (code) return code;
    /* Cards before Ampere cannot be cut into slices and say so. */
    if (device->major < 8) return NOT_SUPPORTED;
    *current = *pending = (unsigned)device->mig;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "mig", &device);
    if (!code) *count = 7;
    return code;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **slice) {
    Scene scene;
    Device *device;
    int code = find(&scene, handle, "mig", &device);
    if (code) return code;
    int card = position(&scene, handle);
    for (int i = 0; i < scene.num_devices; i++) {
        if (!scene.devices[i].is_slice || scene.devices[i].card != card || index--) continue;
        *slice = &handles[i];
        return SUCCESS;
    }
    return NOT_FOUND;
}
#endif
