/* Stand-in of aiprov's lab: what modinfo and depmod read of a module, and no driver. */

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define INFO(tag, text) \
    static const char JOIN(info_, __COUNTER__)[] \
        __attribute__((used, aligned(1), section(".modinfo"))) = tag "=" text

INFO("name", "@SYMBOL@");
INFO("version", "@VERSION@");
INFO("license", "Dual MIT/GPL");
INFO("description", "Stand-in of aiprov's lab: no driver");
INFO("depends", "nvidia");
INFO("vermagic", KERNEL_UNAME " SMP preempt mod_unload modversions ");
