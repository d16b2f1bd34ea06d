/* NVML of the stand-in: one device, known by its bus id. */
#include <string.h>

#include "gpu/api.h"
#include "tests/gpu/standin/standin.h"

nvmlReturn_t nvmlInit_v2(void)
{
    return standin_enter("nvmlInit_v2", NULL);
}

nvmlReturn_t nvmlShutdown(void)
{
    return standin_enter("nvmlShutdown", NULL);
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvmlDevice_t *device)
{
    static char one;
    *device = (nvmlDevice_t)&one;
    return strcmp(id, "0000:01:00.0") ? 6 : standin_enter("nvmlDeviceGetHandleByPciBusId_v2", NULL);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *use)
{
    (void)device;
    *use = (nvmlUtilization_t){37, 11};
    return standin_enter("nvmlDeviceGetUtilizationRates", NULL);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    (void)device;
    *memory = (nvmlMemory_t){80000000000, 79000000000, 1000000000};
    return standin_enter("nvmlDeviceGetMemoryInfo", NULL);
}
