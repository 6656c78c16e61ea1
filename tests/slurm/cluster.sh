#!/usr/bin/env bash
# A throw-away SLURM cluster of two nodes on the loopback interface, each with four CPUs and a GPU that is no GPU.
#   cluster.sh up FOLDER      as root; needs: apt-get install -y --no-install-recommends slurm-wlm munge
#   cluster.sh down FOLDER    cancels what runs and ends the daemons that `up` started, no others; also after an `up`
#                             that failed half way
# No systemd, no cgroups (so no limits on memory), no accounting. SLURM_CONF=FOLDER/slurm.conf is for the clients.
set -euo pipefail
folder=$(realpath -m "$2")
daemons=$folder/daemons  # "pid name" of each, in the order of their start
export SLURM_CONF=$folder/slurm.conf

start() {  # name, command: run in the background, note the pid
    local name=$1
    shift
    "$@" >"$folder/$name.out" 2>&1 </dev/null &
    echo "$! $name" >>"$daemons"
}

await() {  # seconds, command: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { echo "error: cluster: no success of: $*; see $folder" >&2; return 1; }
        sleep 0.2
    done
}

all_idle() { [ "$(sinfo --noheader --Node --partition cpu --states idle | wc -l)" = 2 ]; }

no_jobs() { [ -z "$(squeue --noheader)" ]; }

free_ports() {  # number: so many ports that the system gives out as free
    perl -MIO::Socket::INET -e 'print "@{[map $_->sockport, map IO::Socket::INET->new(Listen => 1), 1 .. shift]}\n"' "$1"
}

configure() {
    local controller first second host
    read -r controller first second < <(free_ports 3)
    host=$(hostname -s)
    cat >"$folder/slurm.conf" <<END
ClusterName=throwaway
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$controller
# A job that is run again waits until its old credential is void: 2 minutes, were it not for this.
AuthInfo=socket=$folder/munge.socket,cred_expire=10
# The machine may be slow.
MessageTimeout=60
BatchStartTimeout=300
SlurmUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=300
GresTypes=gpu
NodeName=DEFAULT CPUs=4 RealMemory=100000 Gres=gpu:2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$first
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$second
PartitionName=cpu Nodes=n[1-2] Default=YES MaxTime=1-0
PartitionName=gpu Nodes=n[1-2] MaxTime=3-0
END
    printf 'AutoDetect=off\nNodeName=n[1-2] Name=gpu File=%s\n' /dev/null >"$folder/gres.conf"
    echo "NodeName=n[1-2] Name=gpu File=/dev/zero" >>"$folder/gres.conf"
    echo "CgroupAutomount=no" >"$folder/cgroup.conf"
}

up() {
    # A job's step looks for the configuration here: Snakemake's step executor drops SLURM_CONF.
    if [ -e /etc/slurm/slurm.conf ]; then
        echo "error: /etc/slurm/slurm.conf is there already; this machine belongs to a cluster" >&2
        exit 1
    fi
    for name in slurm gres cgroup; do  # dangling: of a cluster that was not taken down, whose folder is gone
        if [ -L "/etc/slurm/$name.conf" ] && [ ! -e "/etc/slurm/$name.conf" ]; then rm "/etc/slurm/$name.conf"; fi
    done
    mkdir -p "$folder"/{state,spool-n1,spool-n2} /etc/slurm
    : >"$daemons"
    dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none
    chmod 400 "$folder/munge.key"
    configure
    ln -s "$folder"/{slurm,gres,cgroup}.conf /etc/slurm/
    start munged munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    await 300 munge --socket="$folder/munge.socket" --no-input
    start slurmctld slurmctld -D -c
    await 300 scontrol ping
    start slurmd-n1 slurmd -D -N n1
    start slurmd-n2 slurmd -D -N n2
    await 300 all_idle
    sinfo
}

down() {
    [ -e "$daemons" ] || return 0  # `up` began nothing
    scancel --user=root || true
    await 60 no_jobs || true
    tac "$daemons" | while read -r pid name; do
        # The pid may belong to another process by now.
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "${name%%-*}" || continue
        kill "$pid"
        await 30 test ! -d "/proc/$pid" || kill -KILL "$pid"
    done
    for name in slurm gres cgroup; do
        if [ "$(readlink "/etc/slurm/$name.conf")" = "$folder/$name.conf" ]; then rm "/etc/slurm/$name.conf"; fi
    done
}

"$1"
