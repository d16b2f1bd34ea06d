# millrace: every habit is a target. `make help` lists them.
# Sources are found by wildcard and dependencies by the compiler: adding a file edits nothing here.

FLAVOUR    ?= release
BUILD_ROOT ?= build
B          := $(BUILD_ROOT)/$(FLAVOUR)
CC         := gcc
prefix     ?= /usr/local
# V=1 shows every command, else one short line each.
comma      := ,
QUIET      := $(findstring s,$(firstword -$(MAKEFLAGS)))
say         = $(if $(V),,@$(if $(QUIET),,echo "  $(1)  $@" && ))

PACKAGES := rdkafka avro-c yaml-0.1 jansson libprotobuf-c libcrypto zlib openblas libmicrohttpd libjpeg spng libcurl
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)

WARN     := -Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes -Wvla -Werror
HARDEN   := -fPIE -fstack-protector-strong -D_GNU_SOURCE
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2
CFLAGS_debug   := -O0 -g3
# gcc's documentation: with sanitizers these two warn where there is nothing.
SANITIZED      := -O1 -g -fno-omit-frame-pointer $(if $(findstring gcc,$(CC)),-Wno-restrict -Wno-format-truncation)
CFLAGS_asan    := $(SANITIZED) -fsanitize=address,undefined -fno-sanitize-recover=all
CFLAGS_tsan    := $(SANITIZED) -fsanitize=thread
LINK_asan      := -fsanitize=address,undefined
LINK_tsan      := -fsanitize=thread
CFLAGS   += -std=gnu11 $(WARN) $(HARDEN) $(CFLAGS_$(FLAVOUR)) -I. -I$(B) $(PKG_CFLAGS)
LDFLAGS  += -pie -Wl,-z,relro,-z,now $(LINK_$(FLAVOUR))
LIBS     := $(PKG_LIBS) -lm -lpthread -ldl

ENGINE_SRC := $(sort $(shell find engine -name '*.c'))
WORKER_SRC := $(sort $(filter-out worker/main.c,$(shell find worker -name '*.c')))
TEST_SRC   := $(sort $(shell find tests -name '*_test.c'))
# What tests share: C files under tests/ that are not tests themselves.
AID_SRC    := $(sort $(shell find tests/lib -name '*.c' 2>/dev/null))
PROTO      := $(wildcard engine/files/*.proto)
EMBED      := $(sort $(wildcard schemas/*.avsc config/*.yaml))

OBJ     = $(patsubst %.c,$(B)/%.o,$(1))
ENGINE_OBJ := $(call OBJ,$(ENGINE_SRC)) $(patsubst %.proto,$(B)/%.pb-c.o,$(PROTO))
WORKER_OBJ := $(call OBJ,$(WORKER_SRC)) $(B)/embedded.o
TESTS      := $(patsubst %.c,$(B)/%,$(TEST_SRC))
# Programs that time parts; built one by one: make build/release/tests/bench/kernels
BENCHES    := $(patsubst %.c,$(B)/%,$(wildcard tests/bench/*.c))

FUZZ_TARGETS := record schema image onnx safetensors yaml deadletter settings
# Told before the first compiler error: what is missing. The goals that install or need nothing go on.
MISSING := $(shell tests/setup build --print)
FREE    := setup test asan tsan demo help clean lint format size fuzz fuzz-build $(addprefix fuzz-,$(FUZZ_TARGETS))
ifneq ($(MISSING),)
ifneq ($(filter-out $(FREE),$(or $(MAKECMDGOALS),all)),)
$(error missing packages: $(MISSING). `make setup` installs them)
endif
endif
# The CUDA backend, where nvcc is (gpu/README.md). CUDA=1 makes its absence an error, CUDA=0 leaves it out.
NVCC := $(if $(or $(filter 0,$(CUDA)),$(filter asan tsan fuzz,$(FLAVOUR))),,$(shell command -v $(or $(wildcard $(CUDA_HOME)/bin/nvcc),nvcc)))
ifeq ($(CUDA)$(NVCC)$(filter-out release debug,$(FLAVOUR)),1)
$(error CUDA=1: nvcc not found: install CUDA 13 or set CUDA_HOME)
endif

.PHONY: all tests clean
all: $(B)/millrace $(if $(NVCC),$(B)/millrace-cuda.so)
	@echo "openblas: yes: $$(pkg-config --modversion openblas)"
	@echo "librdkafka: yes: $$(pkg-config --modversion rdkafka)"
	@echo "cuda: $(if $(NVCC),yes: $$($(NVCC) --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'),no: $(if $(filter 0,$(CUDA)),CUDA=0,nvcc not found); CUDA=1 makes that an error)"
	@echo "built $(B)/millrace"

# ThreadSanitizer does not know C11's threads, which librdkafka uses.
SHIM := $(if $(filter tsan,$(FLAVOUR)),$(B)/tests/tsan/threads.o)
$(B)/millrace: $(B)/worker/main.o $(SHIM) $(B)/libworker.a $(B)/libengine.a
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
# For tests alone: the same program, which crashes where worker/infer/hook.h says.
$(B)/hooks/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS) -DMILLRACE_HOOKS -MMD -MP -c -o $@ $<
$(B)/millrace-hooks: $(B)/worker/main.o $(B)/hooks/worker/infer/runner.o $(B)/hooks/worker/infer/runner_take.o $(SHIM) $(B)/libworker.a $(B)/libengine.a
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
# For tests alone: the program with one bug each (worker/service/bug.h), of which only the objects that look at it are compiled again.
BUGS    := none auto-commit position late-metadata unsynced verdict behind-abort
BUG_SRC := $(sort $(shell grep -rl --include='*.c' 'worker/service/bug\.h' worker))
define BUG_RULES
$(B)/bugs/$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(call say,CC)$$(CC) $$(CFLAGS) -DMILLRACE_BUG=bug_$(subst -,_,$(1)) -MMD -MP -c -o $$@ $$<
$(B)/bugs/$(1)/millrace: $(B)/worker/main.o $(patsubst %.c,$(B)/bugs/$(1)/%.o,$(BUG_SRC)) $(SHIM) $(B)/libworker.a $(B)/libengine.a
	$$(call say,LINK)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LIBS)
endef
$(foreach b,$(BUGS),$(eval $(call BUG_RULES,$(b))))
.PHONY: bugs
bugs: $(patsubst %,$(B)/bugs/%/millrace,$(BUGS))
# For tests alone: the program in which the n-th allocation of ours fails (tests/memory).
WRAPPED := malloc calloc realloc strdup strndup open_memstream posix_memalign asprintf __asprintf_chk
$(B)/millrace-memory: $(B)/worker/main.o $(B)/tests/memory/wrap.o $(SHIM) $(B)/libworker.a $(B)/libengine.a
	$(call say,LINK)$(CC) $(LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(WRAPPED)) -o $@ $^ $(LIBS)

# millrace-cuda.so: gpu/, what it takes of engine/, and the runtime's static library, so that a machine needs no more than the
# driver, cuBLAS and cuDNN. check.o holds the tables of prototypes against NVIDIA's headers, those that are found.
GPU_SRC  := $(sort $(wildcard gpu/*.c)) engine/fail.c engine/plan.c
PIC      := $(patsubst %.c,$(B)/pic/%.o,$(GPU_SRC)) $(B)/pic/engine/recorder.o
CUDA_AT   = $(shell $(NVCC) --dryrun -x cu -c /dev/null 2>&1 | sed -n 's/^\#\$$ TOP=//p')
NV_HOMES  = $(CUDA_AT) $(CUDA_HOME) $(CUDNN_HOME) $(wildcard $(VIRTUAL_ENV)/lib/python3*/site-packages/nvidia/*)
NV_HEADERS = $(addprefix -isystem ,$(wildcard $(addsuffix /include,$(NV_HOMES))))
GPU_CODE := $(foreach a,80 90,-gencode arch=compute_$(a),code=sm_$(a)) -gencode arch=compute_90,code=compute_90
$(B)/pic/%.o: %.c Makefile | $(patsubst %.proto,$(B)/%.pb-c.h,$(PROTO))
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS) -fPIC -fvisibility=hidden -ffunction-sections -MMD -MP -c -o $@ $<
$(B)/gpu/check.o: gpu/check.cc Makefile
	@mkdir -p $(@D)
	$(call say,CHECK)$(CXX) -std=c++17 -Wall -I. $(NV_HEADERS) -MMD -MP -c -o $@ $<
$(B)/gpu/kernels.o: gpu/kernels.cu Makefile
	@mkdir -p $(@D)
	$(call say,NVCC)$(NVCC) -std=c++17 -O3 -I. $(GPU_CODE) -Xcompiler -fPIC,-Wall,-fvisibility=hidden -MMD -MP -c -o $@ $<
$(B)/millrace-cuda.so: $(B)/gpu/kernels.o $(B)/gpu/check.o $(PIC)
	$(call say,LINK)$(NVCC) -shared -cudart static -Xlinker -z,defs,--gc-sections,--exclude-libs,ALL -o $@ $(B)/gpu/kernels.o $(PIC)

# For tests: the same with kernels compiled for the host, over stand-ins of NVIDIA's libraries (tests/gpu/README.md).
STANDIN  := $(B)/tests/gpu/standin
SHARED    = $(CC) $(CFLAGS) -fPIC $(filter-out -pie,$(LDFLAGS)) -shared
$(B)/gpu/kernels-host.o: gpu/kernels.cu Makefile
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) -x c++ -std=c++17 -Wall -Wextra -Werror -I. $(CFLAGS_$(FLAVOUR)) -O2 -fPIC -fno-exceptions -fno-rtti -fvisibility=hidden -MMD -MP -c -o $@ $<
$(STANDIN)/libstandin.so: $(addprefix tests/gpu/standin/,standin.c streams.c runtime.c standin.h inside.h) $(wildcard gpu/*.h) Makefile
	@mkdir -p $(@D)
	$(call say,LINK)$(SHARED) -Wl,-soname,libstandin.so -o $@ $(filter %.c,$^)
$(STANDIN)/libcublas.so.13 $(STANDIN)/libcudnn.so.9 $(STANDIN)/libnvidia-ml.so.1: $(STANDIN)/lib%: $(STANDIN)/libstandin.so $(wildcard tests/gpu/standin/*.c gpu/*.h)
	$(call say,LINK)$(SHARED) -Wl,-soname,$(@F) -Wl,-rpath,'$$ORIGIN' -o $@ tests/gpu/standin/$(firstword $(subst ., ,$*)).c $(STANDIN)/libstandin.so
	@ln -sf libstandin.so $(STANDIN)/libcublasLt.so.13; ln -sf libstandin.so $(STANDIN)/libcudnn_ops.so.9
$(STANDIN)/millrace-cuda.so: $(B)/gpu/kernels-host.o $(PIC) $(STANDIN)/libstandin.so
	$(call say,LINK)$(SHARED) -Wl,-z,defs,--gc-sections -Wl,-rpath,'$$ORIGIN' -o $@ $^ -lm -ldl
# The backend on a device: operations and networks against ref, goldens, bits that repeat, LeNet to 97 %, the worker on a broker,
# compute-sanitizer. Without a device: skipped, and counted.
.PHONY: standin cuda check-gpu
GPU_CHECKS := $(addprefix $(B)/tests/gpu/,optest_test host_test programs_test worker_test)
GPU_RUNS   := $(addprefix $(B)/tests/,engine/golden_test engine/layer_golden_test engine/training_golden_test worker/stream/exactly_once_test)
check-gpu: $(B)/millrace $(if $(NVCC),$(B)/millrace-cuda.so) $(GPU_CHECKS)
	@MILLRACE_PLUGINS=$(CURDIR)/$(B) CHECK_GPU=1 MAY_SKIP_ALL=1 JOBS=1 tests/run $(B)/gpu-logs $(GPU_CHECKS)
$(addprefix $(B)/tests/gpu/,programs_test worker_test bench_test): | $(GPU_RUNS) $(B)/millrace
# What CI holds where there is none: nvcc takes the kernels, the tables of prototypes are CUDA's, the plugin loads and refuses plainly.
cuda: $(B)/millrace $(B)/millrace-cuda.so $(B)/tests/gpu/plugin_test
	@REQUIRE_NVCC=1 tests/run $(B)/gpu-logs $(B)/tests/gpu/plugin_test
standin: $(addprefix $(STANDIN)/,millrace-cuda.so libcublas.so.13 libcudnn.so.9 libnvidia-ml.so.1)
$(patsubst %.c,$(B)/%,$(filter tests/gpu/%,$(TEST_SRC))): private LIBS += $(STANDIN)/libstandin.so -Wl,-rpath,'$$ORIGIN/standin'
$(patsubst %.c,$(B)/%,$(filter tests/gpu/%,$(TEST_SRC))): | standin

$(B)/libengine.a: $(ENGINE_OBJ)
	$(call say,AR)rm -f $@ && ar rcs $@ $^
$(B)/libworker.a: $(WORKER_OBJ)
	$(call say,AR)rm -f $@ && ar rcs $@ $^

tests: $(TESTS)
$(B)/tests/torture/torture: $(call OBJ,$(filter-out %/faultydisk.c,$(wildcard tests/torture/*.c)))
$(B)/tests/teeth/teeth: $(call OBJ,tests/teeth/schedules.c)
$(TESTS) $(BENCHES) $(B)/tests/torture/torture $(B)/tests/teeth/teeth: $(B)/%: $(B)/%.o $(call OBJ,$(AID_SRC)) $(SHIM) $(B)/libworker.a $(B)/libengine.a
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

$(B)/%.o: %.c Makefile | $(patsubst %.proto,$(B)/%.pb-c.h,$(PROTO))
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS) $(CFLAGS_$(subst /,_,$(patsubst %/,%,$(dir $*)))) -MMD -MP -c -o $@ $<

# Preloaded by tests into a program.
$(B)/%.so: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=gnu11 $(WARN) -D_GNU_SOURCE -I. -O2 -g -fPIC -shared -o $@ $< -ldl

# Kernels may contract a*b+c and want all of -O3; no -ffast-math: NaN and -inf are data here.
CFLAGS_engine_cpu := -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math

$(B)/%.pb-c.c $(B)/%.pb-c.h: %.proto
	@mkdir -p $(B)
	$(call say,GEN)protoc-c --c_out=$(B) $<
# Named, so that make does not delete the headers as intermediate files.
.SECONDARY: $(patsubst %.proto,$(B)/%.pb-c.c,$(PROTO)) $(patsubst %.proto,$(B)/%.pb-c.h,$(PROTO))
$(B)/%.pb-c.o: $(B)/%.pb-c.c $(B)/%.pb-c.h
	$(call say,CC)$(CC) -std=gnu11 $(HARDEN) $(CFLAGS_$(FLAVOUR)) -I$(B) $(PKG_CFLAGS) -c -o $@ $<

# schemas/*.avsc and config/*.yaml travel inside the binary: worker/service/embedded.h
$(B)/embedded.c: $(EMBED) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "worker/service/embedded.h"'; n=0; \
	for f in $(EMBED); do \
	  echo "__asm__(\".section .rodata; embed$$n: .incbin \\\"$$f\\\"; .byte 0; embed$${n}_end: ; .previous\");"; \
	  echo "extern const char embed$$n[] __attribute__((visibility(\"hidden\"))), embed$${n}_end[] __attribute__((visibility(\"hidden\")));"; n=$$((n+1)); done; \
	n=0; echo 'const struct embedded embedded_files[] = {'; \
	for f in $(EMBED); do echo "    {\"$$f\", embed$$n, embed$${n}_end},"; n=$$((n+1)); done; \
	echo '    {0, 0, 0}};'; } > $@
$(B)/embedded.o: $(B)/embedded.c
	$(call say,CC)$(CC) -std=gnu11 -fPIE -I. -c -o $@ $<

# Fuzzing wants clang; only what a target needs is compiled again. What it finds new stays in build/fuzz/corpus.
FUZZ_SECONDS ?= 60
CFLAGS_fuzz  := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LINK_fuzz    := -fsanitize=fuzzer,address,undefined
FUZZ_RECORD  := tests/fuzz/record_fuzz.c tests/fuzz/differential.c engine/fail.c engine/tensor.c worker/service/region.c \
                worker/service/embedded.c $(filter-out %/container.c,$(wildcard worker/codec/*.c))
$(B)/record_fuzz: $(call OBJ,$(FUZZ_RECORD)) $(B)/embedded.o
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
FUZZ_SCHEMA  := $(patsubst %/record_fuzz.c,%/schema_fuzz.c,$(filter-out %/differential.c,$(FUZZ_RECORD)))
$(B)/schema_fuzz: $(call OBJ,$(FUZZ_SCHEMA)) $(B)/embedded.o
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
FUZZ_IMAGE   := tests/fuzz/image_fuzz.c engine/fail.c engine/tensor.c $(wildcard worker/codec/image*.c)
$(B)/image_fuzz: $(call OBJ,$(FUZZ_IMAGE))
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
FUZZ_LETTER  := tests/fuzz/deadletter_fuzz.c engine/fail.c worker/stream/batch.c worker/stream/message.c worker/service/region.c \
                worker/service/text.c
$(B)/deadletter_fuzz: $(call OBJ,$(FUZZ_LETTER))
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
FUZZ_SETTING := tests/fuzz/settings_fuzz.c engine/fail.c $(wildcard engine/setting*.c engine/files/yaml*.c) \
                $(filter-out %/embedded.c %/metrics.c %/http.c,$(wildcard worker/service/*.c))
$(B)/settings_fuzz: $(call OBJ,$(FUZZ_SETTING))
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
# The readers of models, with all of the engine that they need: no kernels.
FUZZ_READERS := $(wildcard engine/files/*.c engine/layers/*.c) $(addprefix engine/,fail.c tensor.c graph.c graph_init.c rng.c setting.c \
                setting_print.c setting_read.c $(notdir $(wildcard engine/recorder*.c engine/nest*.c engine/plan*.c)) op.c)
FUZZ_OBJ     := $(call OBJ,$(wildcard $(FUZZ_READERS))) $(patsubst %.proto,$(B)/%.pb-c.o,$(PROTO))
$(B)/onnx_fuzz $(B)/safetensors_fuzz $(B)/yaml_fuzz: $(B)/%: $(B)/tests/fuzz/%.o $(FUZZ_OBJ)
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# Files beside the corpus, and what a target's inputs look like.
FUZZ_MORE_yaml     := config
FUZZ_MORE_settings := config
FUZZ_FLAGS_schema := -dict=tests/fuzz/schema.dict -max_len=8192
FUZZ_FLAGS_onnx := -dict=tests/fuzz/onnx.dict -max_len=16384
.PHONY: fuzz fuzz-build $(addprefix fuzz-,$(FUZZ_TARGETS))
fuzz-build:
	@tests/setup build fuzz
	$(MAKE) FLAVOUR=fuzz CC=clang-14 $(patsubst %,$(BUILD_ROOT)/fuzz/%_fuzz,$(FUZZ_TARGETS))
$(addprefix fuzz-,$(FUZZ_TARGETS)): fuzz-%: fuzz-build
	@mkdir -p $(BUILD_ROOT)/fuzz/corpus/$*
	$(BUILD_ROOT)/fuzz/$*_fuzz -max_total_time=$(FUZZ_SECONDS) -malloc_limit_mb=128 -print_final_stats=1 $(FUZZ_FLAGS_$*) \
	  $(BUILD_ROOT)/fuzz/corpus/$* tests/fuzz/corpus/$* $(FUZZ_MORE_$*)
# All, two at a time; what one says is shown when it fails.
fuzz: fuzz-build
	@printf '%s\n' $(FUZZ_TARGETS) | xargs -P2 -I@ sh -c \
	  '$(SUB) -s fuzz-@ >$(BUILD_ROOT)/fuzz/@.log 2>&1 && echo "ok     @: $$(sed -n "s/.*number_of_executed_units: //p" $(BUILD_ROOT)/fuzz/@.log) inputs" || { cat $(BUILD_ROOT)/fuzz/@.log; echo "FAILED @"; exit 255; }'

# ---- habits ----

JOBS     ?= $(shell nproc)
SUB      := $(MAKE) --no-print-directory
# A part of the tests: make test ONLY="worker/stream worker/infer"
ONLY     ?=
CHOSEN   := $(if $(ONLY),$(foreach t,$(TESTS),$(if $(strip $(foreach o,$(ONLY),$(findstring $(o),$(t)))),$(t))),$(TESTS))

# The matrix of layers, operations and operators in engine/README.md; a test fails while it is stale.
.PHONY: support
support: $(B)/tests/engine/support_test
	@$< --write >/dev/null && echo "engine/README.md is written"
.PHONY: setup test test-run demo asan tsan lint format size help install torture torture-ci teeth
setup:
	@tests/setup build test
test: setup
	@$(SUB) test-run
# What does not build is counted by tests/run. One broker serves all programs that share one.
test-run:
	@echo "building $(B)"; $(SUB) -s -k -j$(JOBS) $(B)/millrace $(if $(NVCC),$(B)/millrace-cuda.so) $(B)/millrace-hooks $(B)/millrace-memory $(CHOSEN); \
	ASAN_OPTIONS="allocator_may_return_null=1 $$ASAN_OPTIONS" \
	TSAN_OPTIONS="halt_on_error=1 allocator_may_return_null=1 suppressions=$(CURDIR)/tests/tsan/suppressions $$TSAN_OPTIONS" \
	  JOBS=$(JOBS) tests/run $(B)/test-logs $(CHOSEN)
# Everything from nothing: compose/demo says what it does.
demo: setup
	@$(SUB) -s -j$(JOBS) all
	@MILLRACE=$(B)/millrace compose/demo
asan tsan: setup
	@$(SUB) FLAVOUR=$@ test-run
# Faults by a seeded schedule against real brokers; tests/torture/README.md. full is a matter of hours.
torture torture-ci: setup
	@$(SUB) -s -j$(JOBS) $(B)/millrace $(B)/millrace-hooks $(B)/bugs/none/millrace $(B)/tests/torture/torture $(B)/tests/torture/faultydisk.so
	@TORTURE_SIZE=$${TORTURE_SIZE:-$(if $(filter torture,$@),full,ci)} TEST_TIMEOUT_S=$(if $(filter torture,$@),43200,600) \
	  tests/torture/run $(B)/torture-logs $(B)/tests/torture/torture
# Programs with a bug each, which the checker must see; tests/teeth/README.md.
teeth: setup
	@$(SUB) -s -j$(JOBS) $(B)/millrace bugs $(B)/tests/teeth/teeth $(B)/tests/teeth/powerloss.so
	@tests/teeth/run $(B)/teeth-logs $(B)/tests/teeth/teeth $(ONLY)
lint:
	@tests/setup lint
	@$(SUB) -s -j$(JOBS) $(ENGINE_OBJ) $(WORKER_OBJ)
	@tests/lint/lint $(B)
format:
	clang-format-14 -i $$(git ls-files '*.c' '*.h' '*.cu' '*.cc')
# Ours beside other engines: tests/bench/engine says what it needs and which variables narrow it.
.PHONY: bench-engine
bench-engine:
	@$(SUB) -s -j$(JOBS) $(B)/tests/bench/rates
	@RATES=$(B)/tests/bench/rates tests/bench/engine
.PHONY: bench-gpu
bench-gpu: $(B)/millrace $(if $(NVCC),$(B)/millrace-cuda.so) $(B)/tests/bench/rates
	@MILLRACE=$(B)/millrace RATES=$(B)/tests/bench/rates tests/bench/gpu
size:
	@tests/lint/size
install: all
	install -D -m 755 $(B)/millrace $(DESTDIR)$(prefix)/bin/millrace
	$(if $(NVCC),install -D -m 644 $(B)/millrace-cuda.so $(DESTDIR)$(prefix)/lib/millrace/millrace-cuda.so)
	install -d $(DESTDIR)$(prefix)/share/millrace/config $(DESTDIR)$(prefix)/share/millrace/schemas
	install -m 644 config/* $(DESTDIR)$(prefix)/share/millrace/config
	install -m 644 schemas/* $(DESTDIR)$(prefix)/share/millrace/schemas

help:
	@echo "make            builds $(B)/millrace"
	@echo "make setup      installs the Debian packages that building and testing need, naming them"
	@echo "make test       setup, build, every test, those against a real broker too; ONLY=worker/stream runs a part"
	@echo "make asan|tsan  the tests in a build with sanitizers"
	@echo "make demo       everything from nothing: broker, training, scoring, answers checked"
	@echo "make fuzz       every fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS)); fuzz-onnx, fuzz-yaml ... is one"
	@echo "make bench-engine ours beside ONNX Runtime and PyTorch, a table; NETS=, BATCHES=, SECS= narrow it"
	@echo "make check-gpu  the cuda backend on this machine's device; without one it is skipped, with REQUIRE_GPU=1 a failure"
	@echo "make bench-gpu  backend cuda beside PyTorch on this machine's device, into tests/bench/RESULTS-gpu.md; without one it is skipped"
	@echo "make support    writes the matrix of layers and operators into engine/README.md"
	@echo "make torture-ci faults against real brokers, small sizes, ten minutes; make torture the full ones; TORTURE_ONLY=\"T1 T4\" runs a part"
	@echo "make bugs       the programs of make teeth alone: $(B)/bugs/*/millrace"
	@echo "make teeth      programs with a bug built in, each of which the independent checker must see"
	@echo "make lint       the rules of the house; make format writes the layout; make size prints sizes"
	@echo "make install    to DESTDIR, prefix ($(prefix))"
	@echo "make clean      removes $(BUILD_ROOT)"
	@echo "Variables: FLAVOUR=release|debug|asan|tsan, CC=gcc|clang-14, BUILD_ROOT, JOBS, V=1 shows commands, CUDA=1 needs nvcc, CUDA=0 leaves the cuda backend out"

clean:
	rm -rf $(BUILD_ROOT)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
