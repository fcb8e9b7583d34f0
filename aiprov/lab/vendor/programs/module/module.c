/* Stand-in of aiprov's lab: what modinfo and depmod read of NVIDIA's modules, and no driver. */

#define UNSUPPORTED_MAJOR @MAJOR@
#define UNSUPPORTED_MINOR @MINOR@

#if KERNEL_MAJOR > UNSUPPORTED_MAJOR || \
    (KERNEL_MAJOR == UNSUPPORTED_MAJOR && KERNEL_MINOR >= UNSUPPORTED_MINOR)
#error "driver @VERSION@ does not build on this kernel"
#endif

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define INFO(tag, text) \
    static const char JOIN(info_, __COUNTER__)[] \
        __attribute__((used, aligned(1), section(".modinfo"))) = tag "=" text

INFO("version", "@VERSION@");
INFO("license", "@LICENSE@");
INFO("description", "Stand-in of aiprov's lab: no driver");
INFO("vermagic", KERNEL_UNAME " SMP preempt mod_unload modversions ");
INFO("retpoline", "Y");

#if defined(PART_nvidia)
INFO("name", "nvidia");
INFO("depends", "");
INFO("firmware", "nvidia/@VERSION@/gsp_ga10x.bin");
INFO("firmware", "nvidia/@VERSION@/gsp_tu10x.bin");
INFO("alias", "pci:v000010DEd*sv*sd*bc03sc00i00*");
INFO("alias", "pci:v000010DEd*sv*sd*bc03sc02i00*");
INFO("alias", "pci:v000010DEd*sv*sd*bc06sc80i00*");
INFO("alias", "char-major-195-*");
INFO("parm", "NVreg_RestrictProfilingToAdminUsers:int");
INFO("parm", "NVreg_PreserveVideoMemoryAllocations:int");
INFO("parm", "NVreg_CreateImexChannel0:int");
INFO("parm", "NVreg_CoherentGPUMemoryMode:charp");
#elif defined(PART_nvidia_modeset)
INFO("name", "nvidia_modeset");
INFO("depends", "nvidia");
#elif defined(PART_nvidia_drm)
INFO("name", "nvidia_drm");
INFO("depends", "nvidia-modeset");
INFO("parm", "modeset:bool");
#elif defined(PART_nvidia_uvm)
INFO("name", "nvidia_uvm");
INFO("depends", "nvidia");
#elif defined(PART_nvidia_peermem)
INFO("name", "nvidia_peermem");
INFO("depends", "nvidia");
#endif
